"""Image operations as data: what to do, not how. Each pipeline maps an op type to its library.

All ops act on images in [0, 1] before normalisation unless they say otherwise, and draw their
parameters per sample.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Op:
    """Base of all ops."""


@dataclass(frozen=True, kw_only=True)
class Crop(Op):
    """Pads by `pad` pixels, then cuts the original size at an integer offset.

    Offsets are uniform over 0..2*pad in each direction, independent of each other. "reflect" does
    not repeat the edge pixel (torch's and torchvision's "reflect"); "zero" pads with black.
    """

    pad: int = 4
    padding: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        if self.pad < 1:
            raise ValueError(f"Crop needs pad >= 1, got {self.pad}")
        if self.padding not in ("reflect", "zero"):
            raise ValueError(f"Crop padding is 'reflect' or 'zero', got {self.padding!r}")


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip(Op):
    """Mirrors left to right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"HorizontalFlip p lies in [0, 1], got {self.p}")


@dataclass(frozen=True, kw_only=True)
class Cutout(Op):
    """Sets one `size` x `size` square per image to the data's mean (zero after normalisation).

    The square lies fully inside the image, its corner uniform over all positions (DeVries and
    Taylor 2017, with the placement of the CIFAR-10 speed records).
    """

    size: int = 8

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Cutout needs size >= 1, got {self.size}")
