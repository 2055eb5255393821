"""One pipeline with one policy on one device, and its output."""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, BrokenPromise, Pipeline
from pipelines.ops import MIXING, Op
from pipelines.sources.base import Images
from pipelines.verification import made_images

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """Concatenated batches of one epoch.

    Args:
        pixels: (N, H, W, C) in 0..255.
        labels: (N,), or (N, classes) for a policy that mixes.
        order: (N,), the expected samples.
        shared: Whether the pipeline declares one draw per batch.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.float32] | NDArray[np.int64]
    order: NDArray[np.int64]
    batch_size: int
    shared: bool = False


@dataclass(frozen=True)
class Trial:
    """One pipeline with one policy on one device; `shared` if it declares one draw per batch."""

    spelling: str
    ops: tuple[Op, ...]
    device: str
    batch_size: int = BATCH
    shared: bool = False

    @property
    def mixes(self) -> bool:
        """Whether the policy mixes images and labels."""
        return any(isinstance(op, MIXING) for op in self.ops)

    @property
    def compiled(self) -> bool:
        """Whether the pipeline is compiled, which is repeated for each number of images."""
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
        """The pipeline over `images`."""
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
            pixels=np.concatenate([made_images.pixels(x) for x, _ in found]),
            labels=torch.cat([labels.cpu() for _, labels in found]).numpy(),
            order=order,
            batch_size=self.batch_size,
            shared=self.shared,
        )


def first(pipeline: Pipeline, epoch: int, batches: int | None) -> list[Batch]:
    """The first batches of an epoch, which is then closed."""
    stream = pipeline.epoch(epoch)
    found = list(islice(stream, batches))
    if isinstance(stream, Generator):
        stream.close()
    return found


def require(condition: bool | np.bool_ | Tensor, message: str) -> None:
    """Raises `BrokenPromise(message)` unless the condition holds."""
    if not condition:
        raise BrokenPromise(message)
