"""The plain, slow, obviously right way to do each op, for one image and fixed parameters.

A pipeline keeps its draws to itself. So an output is explained by searching: which parameters, if
any, give the same pixels here? Images of noise make the answer unique.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import Crop, Cutout, HorizontalFlip, Op

Image = NDArray[np.float64]  # (H, W, C) in 0..255
Parameters = tuple[int, ...]


def crop(op: Crop, image: Image, mean: Image, down: int, right: int) -> Image:
    """Pads, then cuts the original size at (down, right), 0..2*pad each."""
    height, width = image.shape[:2]
    sides = ((op.pad, op.pad), (op.pad, op.pad), (0, 0))
    if op.padding == "reflect":
        padded = np.pad(image, sides, mode="reflect")
    else:
        padded = np.pad(image, sides, mode="constant")
    return padded[down : down + height, right : right + width]


def flip(op: HorizontalFlip, image: Image, mean: Image, flipped: int) -> Image:
    """Mirrors if `flipped`."""
    return image[:, ::-1] if flipped else image


def cutout(op: Cutout, image: Image, mean: Image, top: int, left: int) -> Image:
    """Sets a square to the mean."""
    covered = image.copy()
    covered[top : top + op.size, left : left + op.size] = mean
    return covered


def parameters(op: Op, height: int, width: int) -> Iterator[Parameters]:
    """All parameters an op can draw."""
    if isinstance(op, Crop):
        yield from np.ndindex(2 * op.pad + 1, 2 * op.pad + 1)
    elif isinstance(op, HorizontalFlip):
        yield from ((0,), (1,))
    elif isinstance(op, Cutout):
        yield from np.ndindex(height - op.size + 1, width - op.size + 1)
    else:
        raise NotImplementedError(type(op).__name__)


def apply(op: Op, image: Image, mean: Image, drawn: Parameters) -> Image:
    """The op with the parameters `drawn`."""
    if isinstance(op, Crop):
        return crop(op, image, mean, *drawn)
    if isinstance(op, HorizontalFlip):
        return flip(op, image, mean, *drawn)
    if isinstance(op, Cutout):
        return cutout(op, image, mean, *drawn)
    raise NotImplementedError(type(op).__name__)


class Explainer:
    """Finds the parameters behind outputs of one image.

    Args:
        ops: At most one op, or several whose parameters are few together.
        image: The image that was put in.
        mean: Of each channel, in 0..255.
    """

    def __init__(self, ops: tuple[Op, ...], image: Image, mean: Image) -> None:
        candidates: list[tuple[Parameters, Image]] = [((), image)]
        for op in ops:
            candidates = [
                ((*known, *drawn), apply(op, made, mean, drawn))
                for known, made in candidates
                for drawn in parameters(op, *image.shape[:2])
            ]
        self._drawn = np.array([drawn for drawn, _ in candidates]).reshape(len(candidates), -1)
        self._made = np.stack([made.ravel() for _, made in candidates]).astype(np.float32)

    def explain(
        self, outputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For outputs (N, H, W, C) in 0..255, the nearest candidate each.

        Returns:
            Its parameters (N, K), and by how much its worst pixel is off (N,).
        """
        flat = outputs.reshape(len(outputs), -1)
        best = ((self._made**2).sum(axis=1) - 2.0 * flat @ self._made.T).argmin(axis=1)
        return self._drawn[best].astype(np.int64), np.abs(self._made[best] - flat).max(axis=1)
