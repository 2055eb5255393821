"""Which shares of two images, and of their labels, a mixed sample has."""

import numpy as np
from numpy.typing import NDArray

from pipelines.sources.base import Images
from pipelines.verification.boxes import boxes
from pipelines.verification.trial import Delivered, require

SHARE = 2e-3  # by which labels may differ from the shares of the images


def pair(
    images: Images, found: Delivered
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Each sample's own image and the one before it in its batch, and the other's number."""
    other = np.roll(found.order.reshape(-1, found.batch_size), 1, axis=1).ravel()
    source = images.images.numpy()
    return source[found.order].astype(float), source[other].astype(float), other


def blended(images: Images, found: Delivered, bins: int) -> tuple[NDArray[np.int64], float]:
    """The weight of each sample, in bins, and the worst pixel's error."""
    own, other, number = pair(images, found)
    gap = own - other
    share = ((found.pixels - other) * gap).sum(axis=(1, 2, 3)) / (gap**2).sum(axis=(1, 2, 3))
    check_labels(images, found, number, share)
    mixed = other + share[:, None, None, None] * gap
    drawn = (share * bins).clip(0, bins - 1).astype(np.int64)
    return drawn[:, None], float(np.abs(found.pixels - mixed).max())


def pasted(images: Images, found: Delivered) -> tuple[NDArray[np.int64], float]:
    """The rectangle of each sample, and the worst pixel's error."""
    own, other, number = pair(images, found)
    to_own = np.abs(found.pixels - own).max(axis=3)
    to_other = np.abs(found.pixels - other).max(axis=3)
    drawn, box = boxes(to_other < to_own)
    share = 1.0 - box.mean(axis=(1, 2))
    check_labels(images, found, number, share)
    return drawn, float(np.where(box, to_other, to_own).max())


def check_labels(
    images: Images, found: Delivered, number: NDArray[np.int64], share: NDArray[np.float64]
) -> None:
    """Whether labels have the shares of the images.

    Raises:
        Wrong: They have others.
    """
    one_hot = np.eye(len(images.classes))[images.labels.numpy()]
    expected = one_hot[found.order] * share[:, None] + one_hot[number] * (1 - share[:, None])
    off = float(np.abs(found.labels - expected).max())
    require(off < SHARE, f"labels are not mixed as images are: a share is off by {off:.3f}")
