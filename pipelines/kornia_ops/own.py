"""Kornia's RandomErasing, automatic policies and mixes, which it defines differently from us.

Parameters are passed on as far as Kornia has them; `OWN_OPS` says in words what differs.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pipelines.base import OwnOp, Unsupported
from pipelines.ops import (
    AutoAugment,
    CutMix,
    MixUp,
    Op,
    RandAugment,
    RandomErasing,
    TrivialAugment,
)

AUTO = "kornia.augmentation.auto"  # slow to import, so only when a pipeline is built
M_BINS = 30  # Kornia's magnitudes lie between 0 and this, both excluded

BILINEAR = "bilinear, not rounded to 8 bits"
OWN_OPS: dict[type[Op], OwnOp] = {
    RandomErasing: OwnOp(
        differs="fills with black, the ratio is below or above 1 with equal chances and uniform "
        "there, sides are cut to the image instead of drawn again"
    ),
    RandAugment: OwnOp(
        differs="ops are drawn once per batch, without repeats, from 15 (invert and solarize_add, "
        "no identity), shears to 54 degrees, moves to 0.1 of the side, brightness and the like "
        f"from 0.1 to 1.9 without signs, {BILINEAR}",
        draws="per batch",
    ),
    TrivialAugment: OwnOp(
        differs="the op is drawn once per batch, from 12 (no identity, no colour), magnitudes are "
        "continuous, shears to 54 and rotations to 30 degrees, moves to half the side, posterize "
        f"to 0 to 4 bits, {BILINEAR}",
        draws="per batch",
    ),
    AutoAugment: OwnOp(
        differs="the pair of ops is drawn once per batch, magnitudes are continuous within a bin "
        "of a scale from negative to positive, without random signs, shears to 54 degrees, moves "
        f"to half the side, {BILINEAR}",
        draws="per batch",
    ),
    MixUp: OwnOp(
        differs="weights are uniform in 0..1 whatever alpha is, partners are a random permutation"
    ),
    CutMix: OwnOp(
        differs="the rectangle lies inside the image instead of being cut off at its edges, "
        "partners are a random permutation"
    ),
}


def random_erasing(kornia: Any, op: RandomErasing, setup: Any) -> Any:
    """Kornia's RandomErasing, black as by default."""
    return kornia.RandomErasing(scale=op.scale, ratio=op.ratio, p=op.p)


def rand_augment(kornia: Any, op: RandAugment, setup: Any) -> Any:
    """Kornia's RandAugment at the same share of the largest magnitude.

    Raises:
        Unsupported: Kornia takes no such parameters, or no such images.
    """
    magnitude = op.magnitude * M_BINS / (op.bins - 1)
    if not 0 < magnitude < M_BINS or op.n > 15:
        raise Unsupported(
            "kornia's RandAugment takes 1 to 15 ops and neither the lowest nor the highest "
            f"magnitude: change n={op.n} or magnitude={op.magnitude}, or choose another pipeline"
        )
    return automatic(setup).RandAugment(n=op.n, m=magnitude)


def automatic(setup: Any) -> Any:
    """The module of the automatic policies.

    Raises:
        Unsupported: The images have no colour, which some of their ops need.
    """
    if len(setup.mean) != 3:
        raise Unsupported(
            "kornia's automatic policies need images of three channels: choose another pipeline"
        )
    return import_module(AUTO)


# As `kornia.OPS`.
OPS: dict[type[Op], Callable[[Any, Any, Any], Any]] = {
    RandomErasing: random_erasing,
    RandAugment: rand_augment,
    TrivialAugment: lambda kornia, op, setup: automatic(setup).TrivialAugment(),
    AutoAugment: lambda kornia, op, setup: automatic(setup).AutoAugment(op.policy),
}


class Mix:
    """Kornia's mix of a batch, with its labels as shares of the classes."""

    def __init__(self, op: Op, classes: int) -> None:
        kornia, keys = import_module("kornia.augmentation"), ["input", "class"]
        self._classes = classes
        self._blends = isinstance(op, MixUp)
        self._module: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = (
            kornia.RandomMixUpV2(data_keys=keys)
            if self._blends
            else kornia.RandomCutMixV2(
                beta=getattr(op, "alpha", None), data_keys=keys, use_correct_lambda=True
            )
        )

    def __call__(self, x_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images, and labels float32 (B, classes)."""
        x_BCHW, found = self._module(x_BCHW, labels_B)
        own_B, other_B, weight_B = found.view(-1, 3).unbind(dim=1)
        share_B1 = (1.0 - weight_B if self._blends else weight_B)[:, None]
        class_K = torch.arange(self._classes, device=found.device)
        own_BK, other_BK = ((label[:, None] == class_K).float() for label in (own_B, other_B))
        return x_BCHW, own_BK * share_B1 + other_BK * (1.0 - share_B1)
