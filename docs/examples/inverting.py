"""A plugin with an op of its own, and an augmentation that uses it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pipelines.augmentations import Augmentation
from pipelines.native_ops.edits import Edit
from pipelines.ops import HorizontalFlip, Op
from pipelines.torchvision import TorchvisionOp


def invert(op, x_BHWC, u_B1):
    """Images in 0..255, and a uniform draw for each."""
    return torch.where(u_B1[:, :, None, None] < op.p, 255.0 - x_BHWC, x_BHWC)


@dataclass(frozen=True, kw_only=True)
class Invert(Op):
    """Inverts images with probability `p`."""

    p: float = 0.5
    implementations: ClassVar = {
        "native": Edit(draws=1, apply=invert),
        "torchvision": TorchvisionOp(build=lambda v2, op, images: v2.RandomInvert(p=op.p)),
        "kornia": lambda kornia, op, setup: kornia.RandomInvert(p=op.p),
    }


inverting = Augmentation(
    name="inverting",
    why="shows whether light on dark helps with dark on light",
    ops=[HorizontalFlip(p=0.5), Invert(p=0.2)],
)
