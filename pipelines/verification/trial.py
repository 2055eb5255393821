"""One pipeline with one policy on one device, and the promises that it is held to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.ops import Op
from pipelines.sources.base import Images
from pipelines.verification import world

BATCH = 512


class Wrong(AssertionError):
    """A promise that was not kept; the message says which."""


@dataclass(frozen=True)
class Trial:
    """One pipeline with one policy on one device."""

    spelling: str
    ops: tuple[Op, ...]
    device: str

    def build(self, images: Images, *, batch_size: int = BATCH, seed: int = 0) -> Pipeline:
        """The pipeline over made images."""
        return building.build(
            self.spelling,
            images,
            Augmentation(ops=self.ops),
            batch_size=batch_size,
            device=self.device,
            seed=seed,
        )

    def outputs(self, images: Images, epoch: int = 0) -> NDArray[np.float32]:
        """Pixels of one epoch, in 0..255, (N, H, W, C)."""
        with self.build(images) as pipeline:
            return np.concatenate([world.pixels(x) for x, _ in pipeline.epoch(epoch)])


def require(holds: bool, otherwise: str) -> None:
    """Raises `Wrong` with a sentence unless a promise holds."""
    if not holds:
        raise Wrong(otherwise)
