"""DALI's own automatic policies (`nvidia.dali.auto_aug`), which it defines differently from us.

DALI draws their random numbers from a state that depends on earlier epochs. While the graph is
built here, `fn.random.uniform` returns inputs instead, which are fed with the suite's numbers.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

from pipelines.base import OwnOp, Unsupported
from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Size
from pipelines.ops import AutoAugment, Op, RandAugment, TrivialAugment

PIXELS = (
    "grey outside, bilinear, moves by fractions of a pixel, equalize as in OpenCV, sharpness at "
    "the edges too, solarize from 256 on"
)
OWN_OPS: dict[type[Op], OwnOp] = {
    RandAugment: OwnOp(differs=f"moves to 100/224 of the side, {PIXELS}"),
    TrivialAugment: OwnOp(differs=f"brightness and the like by 0.01 at least, {PIXELS}"),
    AutoAugment: OwnOp(
        differs="brightness and the like from 0.1 to 1.9 and posterize to 0 to 4 bits, without "
        f"signs and in 11 bins, moves up to the whole side, {PIXELS}"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a policy is called, and which random numbers it requests, in order.

    Args:
        call: (op, images, their size) to images.
        draws: op to the (number of values, how many per sample) of each request; 0 values for
            uniform numbers in 0..1, 0 per sample for one number without a dimension.
    """

    call: Callable[[Any, Any, Size], Any]
    draws: Callable[[Any], Sequence[tuple[int, int]]]


def rand_augment(op: RandAugment, images: Any, size: Size) -> Any:
    """Moves are shares of the images' side, as DALI's examples do; by default 100 pixels."""
    from nvidia.dali.auto_aug.rand_augment import rand_augment

    return rand_augment(images, n=op.n, m=op.magnitude, num_magnitude_bins=op.bins, shape=size)


def trivial_augment(op: TrivialAugment, images: Any, size: Size) -> Any:
    """Moves are at most 32 pixels, by default."""
    from nvidia.dali.auto_aug.trivial_augment import trivial_augment_wide

    return trivial_augment_wide(images, num_magnitude_bins=op.bins)


def auto_augment(op: AutoAugment, images: Any, size: Size) -> Any:
    """Moves are shares of the images' side, as DALI's examples do; by default 250 pixels."""
    from nvidia.dali.auto_aug.auto_augment import auto_augment

    return auto_augment(images, f"reduced_{op.policy}", shape=size)


POLICIES: Mapping[type[Op], Policy] = {
    RandAugment: Policy(
        call=rand_augment,
        draws=lambda op: [(values, op.n if op.n > 1 else 0) for values in (14, 2)],
    ),
    TrivialAugment: Policy(call=trivial_augment, draws=lambda op: [(op.bins, 0), (2, 0), (14, 0)]),
    AutoAugment: Policy(call=auto_augment, draws=lambda op: [(0, 2), (25, 0), (2, 2)]),
}


def draw(op: Op, size: Size, count: int, generator: torch.Generator) -> Draws:
    """The policy's random numbers: int32, or float32 in 0..1; (count,) or (count, n)."""
    found = []
    for values, width in POLICIES[type(op)].draws(op):
        shape = (count, width) if width else (count,)
        found.append(
            torch.randint(values, shape, generator=generator, dtype=torch.int32)
            if values
            else torch.rand(shape, generator=generator)
        )
    return tuple(found)


def add(op: Op, flow: Flow, *inputs: Any) -> None:
    """DALI's policy, with `inputs` as its random numbers.

    Raises:
        Unsupported: The images have no colour, or this DALI asks for other numbers.
    """
    if len(flow.mean) != 3:
        raise Unsupported(
            "dali's automatic policies need images of three channels: choose another pipeline"
        )
    policy, fn = POLICIES[type(op)], flow.operators.fn
    if not flow.is_uint8:
        flow.images = fn.cast(flow.images, dtype=flow.operators.types.UINT8)
        flow.is_uint8 = True
    asked: list[tuple[int, int]] = []

    def uniform(
        *, values: Sequence[int] = (), shape: Sequence[int] | None = None, **others: Any
    ) -> Any:
        asked.append((len(values), (shape or (0,))[0]))
        return inputs[min(len(asked), len(inputs)) - 1]

    # DALI warns about its own use of operators by deprecated names.
    with patch.object(fn.random, "uniform", uniform), warnings.catch_warnings(record=True):
        flow.images = policy.call(op, flow.images, flow.size)
    if asked != list(policy.draws(op)):
        raise Unsupported(
            f"this version of dali draws its {type(op).__name__} otherwise than 2.4 does: choose "
            "another pipeline, or another version"
        )


OPS: dict[type[Op], DaliOp] = {
    kind: DaliOp(draw=draw, add=add, inputs=lambda op: len(POLICIES[type(op)].draws(op)), raw=True)
    for kind in POLICIES
}
