"""The images of a source: uint8 images and labels, always the same bytes in the same order."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.sources.arrays import BadFile
from pipelines.sources.errors import SourceError

__all__ = ["Data", "Images", "SourceError"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """One set of images.

    Args:
        images: uint8 (N, H, W, C), usually memory-mapped; arrays are converted to tensors.
        labels: int64 (N,), indices into `classes`.
        mean: Mean of each channel of the training images, scaled to [0, 1].
        std: Standard deviation of each channel.
        fingerprint: SHA-256 of these images and labels in this order.
        files: Image files in the order of `images`, for pipelines that decode in each epoch; ()
            to use the arrays.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str = ""
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, torch.from_numpy(value))
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images are uint8 (N, H, W, C), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are int64 ({len(self.images)},), "
                f"got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        channels = self.images.shape[3]
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean and std need one value for each of {channels} channels")
        if self.files and len(self.files) != len(self.images):
            raise ValueError(f"{len(self.files)} files do not go with {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.images.shape[1], self.images.shape[2]

    def subset(self, indices: Tensor, *, pixels: bool = True) -> "Images":
        """The images at `indices` (int64, any order), copied; statistics are kept.

        Args:
            pixels: False to leave out the pixels of a set with files, which may not fit into
                memory: `images` then has no data, and reading it raises.
        """
        if pixels or not self.files:
            images = self.images[indices]
        else:
            images = self.images.new_empty((len(indices), *self.images.shape[1:]), device="meta")
        files = tuple(self.files[index] for index in indices.tolist()) if self.files else ()
        return replace(self, images=images, labels=self.labels[indices], files=files)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A source's sets; `test` is used once.

    Args:
        name: The canonical name, which says where the test set is from if it isn't the source's
            own, and how many files are left out.
        train: Includes the validation images if `validation` is None.
        validation: The source's own validation set.
        bad: Image files that are left out, as they can't be read.
        skipped: Files and folders of a tree that are no images of a class.
    """

    name: str
    train: Images
    test: Images
    validation: Images | None = None
    bad: tuple[BadFile, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Identifies all sets."""
        sets = (self.train, self.test, *(() if self.validation is None else (self.validation,)))
        return "-".join(images.fingerprint[:16] for images in sets)
