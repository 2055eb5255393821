"""One pipeline with one policy on one device, and what it delivers."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Pipeline
from pipelines.ops import MIXING, Op
from pipelines.sources.base import Images
from pipelines.verification import world

BATCH = 256


class Wrong(AssertionError):
    """A promise that was not kept; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """Batches of one epoch in a row.

    Args:
        pixels: (N, H, W, C) in 0..255.
        labels: (N,), or (N, classes) of a policy that mixes.
        order: (N,), the samples that these should be.
        batch_size: Of the batches.
        shared: Whether a batch shares its draws, as declared.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.float32] | NDArray[np.int64]
    order: NDArray[np.int64]
    batch_size: int
    shared: bool = False


@dataclass(frozen=True)
class Trial:
    """One pipeline with one policy on one device; `shared` if it declares one draw for a batch."""

    spelling: str
    ops: tuple[Op, ...]
    device: str
    batch_size: int = BATCH
    shared: bool = False

    @property
    def mixes(self) -> bool:
        """Whether labels are shares."""
        return any(isinstance(op, MIXING) for op in self.ops)

    @property
    def compiled(self) -> bool:
        """Whether another number of images costs another compilation."""
        return building.parse(self.spelling).mode == "compiled"

    def build(
        self,
        images: Images,
        *,
        seed: int = 0,
        training: bool = True,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> Pipeline:
        """The pipeline over made images."""
        return building.build(
            self.spelling,
            images,
            Augmentation(ops=self.ops),
            batch_size=self.batch_size,
            device=self.device,
            dtype=dtype,
            memory_format=memory_format,
            seed=seed,
            training=training,
        )

    def deliver(
        self, images: Images, *, epoch: int = 0, seed: int = 0, batches: int | None = None
    ) -> Delivered:
        """The first batches of an epoch, or all of them."""
        with self.build(images, seed=seed) as pipeline:
            found = first(pipeline, epoch, batches)
            order = pipeline.permutation(epoch)[:batches].flatten().numpy()
        return Delivered(
            pixels=np.concatenate([world.pixels(x) for x, _ in found]),
            labels=torch.cat([labels.cpu() for _, labels in found]).numpy(),
            order=order,
            batch_size=self.batch_size,
            shared=self.shared,
        )


def first(pipeline: Pipeline, epoch: int, batches: int | None) -> list[Batch]:
    """The first batches of an epoch; the rest of it is not made."""
    stream = pipeline.epoch(epoch)
    found = list(islice(stream, batches))
    close = getattr(stream, "close", None)
    if close is not None:
        close()
    return found


def require(holds: bool | np.bool_ | Tensor, otherwise: str) -> None:
    """Raises `Wrong` with a sentence unless a promise holds."""
    if not holds:
        raise Wrong(otherwise)
