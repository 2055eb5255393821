"""Verification finds each fault that a sceptic would plant in one op."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines import native
from pipelines.base import Batch, Pipeline, flipped
from pipelines.native_ops import auto, mixes, moves
from pipelines.native_ops.moves import Places
from pipelines.ops import Crop, Cutout, HorizontalFlip, MixUp, RandomErasing
from tests.planting import Patch, Plant, fresh_kernels, problem

__all__ = ["fresh_kernels"]  # a fixture

pytestmark = pytest.mark.usefixtures("fresh_kernels")


def offsets(low: int, count: int, half: bool = False) -> Callable[[Crop, Tensor], Tensor]:
    """Uniform numbers that lead to offsets low..low + count - 1, ends at half weight or not."""

    def change(op: Crop, u_B2: Tensor) -> Tensor:
        offset = (u_B2 * (count - 1)).round() if half else (u_B2 * count).floor()
        return (low + offset + 0.5) / (2 * op.pad + 1)

    return change


def crop_with(change: Callable[[Crop, Tensor], Tensor]) -> Plant:
    right = moves.crop

    def crop(op: Crop, places: Places, u_B2: Tensor) -> Places:
        return right(op, places, change(op, u_B2))

    return lambda patch: patch.setitem(moves.MOVES, Crop, replace(moves.MOVES[Crop], trace=crop))


def flip_with(p: float) -> Plant:
    def flip(op: HorizontalFlip, places: Places, u_B1: Tensor) -> Places:
        return moves.horizontal_flip(HorizontalFlip(p=p), places, u_B1)

    made = replace(moves.MOVES[HorizontalFlip], trace=flip)
    return lambda patch: patch.setitem(moves.MOVES, HorizontalFlip, made)


def painted_with(op: Any, paint: moves.Paint) -> Plant:
    made = replace(moves.MOVES[op], paint=lambda _: paint)
    return lambda patch: patch.setitem(moves.MOVES, op, made)


def edge_twice(patch: Patch) -> None:
    patch.setattr(moves, "_reflected", lambda index, size: index.abs().clamp(max=size - 1))


def mixed_with(**changes: Any) -> Plant:
    def plant(patch: Patch) -> None:
        for kind, mix in list(mixes.MIXES.items()):
            patch.setitem(mixes.MIXES, kind, replace(mix, **changes))

    return plant


def other_partner(patch: Patch) -> None:
    """Images and labels both mixed with the next of the batch instead of the one before."""
    right = native.NativePipeline.batch

    def batch(self: Pipeline, index_B: Tensor, *others: Any) -> Batch:
        x, y = right(self, index_B.flip(0), *others)  # type: ignore[arg-type]
        return x.flip(0), y.flip(0)

    patch.setattr(native.NativePipeline, "batch", batch)


def fixed_flips(patch: Patch) -> None:
    patch.setattr(native, "flipped", lambda request, index: flipped(request, 0))


def other_labels(patch: Patch) -> None:
    right = mixes.mixed_labels
    patch.setattr(mixes, "mixed_labels", lambda y, own_B, k: right(y, 0.98 * own_B + 0.01, k))


def weight(alpha: float) -> Callable[..., Tensor]:
    return lambda op, count, generator: mixes.beta(MixUp(alpha=alpha), count, generator)


def shared_weight(op: Any, count: int, generator: torch.Generator) -> Tensor:
    return mixes.beta(op, 1, generator).expand(count)


def picked(change: Callable[[Tensor, int], Tensor]) -> Plant:
    """Another choice by automatic policies: from uniform numbers, and how many there are."""
    return lambda patch: patch.setattr(auto, "pick", change)


def never_the_last(u_B: Tensor, count: int) -> Tensor:
    return (u_B * (count - 1 if count == 14 else count)).to(torch.int64)


def always_plus(u_B: Tensor, count: int) -> Tensor:
    return torch.ones_like(u_B, dtype=torch.int64) if count == 2 else (u_B * count).to(torch.int64)


def bilinear(patch: Patch) -> None:
    """Positions a quarter of a pixel off: other neighbours than torchvision's are the nearest."""
    right = auto.nearest
    patch.setattr(auto, "nearest", lambda position, size: right(position + 0.5 / size, size))


BLACK = moves.Paint(mean=False, border=False)
MEAN_BORDER = moves.Paint(mean=True, border=True)
ONE_OP: dict[str, tuple[str, Plant, str]] = {
    "offsets from 1 on": ("Crop reflect", crop_with(offsets(1, 8)), "not drawn as declared"),
    "offsets without the last": ("Crop reflect", crop_with(offsets(0, 8)), "not drawn as declared"),
    "ends at half weight": ("Crop zero", crop_with(offsets(0, 9, half=True)), "not drawn as decl"),
    "ends at half weight, small": (
        "Crop, HorizontalFlip",
        crop_with(offsets(0, 5, half=True)),
        "not drawn as declared",
    ),
    "one offset for both": (
        "Crop reflect",
        crop_with(lambda op, u_B2: u_B2[:, :1].expand_as(u_B2)),
        "Crop down tells Crop right",
    ),
    "the edge repeated": ("Crop reflect", edge_twice, "a pixel is off"),
    "a border of the mean": ("Crop zero", painted_with(Crop, MEAN_BORDER), "a pixel is off"),
    "a black rectangle": ("RandomErasing", painted_with(RandomErasing, BLACK), "a pixel is off"),
    "an op that never comes": ("RandAugment", picked(never_the_last), "op is not drawn"),
    "an op that never comes, wide": ("TrivialAugment", picked(never_the_last), "op is not drawn"),
    "no minus": ("TrivialAugment", picked(always_plus), "sign or magnitude is not drawn"),
    "no minus in pairs": ("AutoAugment", picked(always_plus), "sign or magnitude is not drawn"),
    "pixels of no outcome": ("TrivialAugment", bilinear, "samples|a pixel is off"),
    "a flip of 0.45": ("HorizontalFlip", flip_with(0.45), "not drawn as declared"),
    "a black square": ("Cutout", painted_with(Cutout, BLACK), "a pixel is off"),
    "flips that do not alternate": ("AlternatingFlip", fixed_flips, "do not show both sides"),
    "weights of another alpha": ("MixUp", mixed_with(weight=weight(1.0)), "not drawn as declared"),
    "areas of another alpha": ("CutMix", mixed_with(weight=weight(1.2)), "not drawn as declared"),
    "one weight for the batch": ("MixUp", mixed_with(weight=shared_weight), "weight"),
    "one area for the batch": ("CutMix", mixed_with(weight=shared_weight), "top|height"),
    "another partner": ("MixUp", other_partner, "labels are not mixed"),
    "another partner, cut": ("CutMix", other_partner, "labels are not mixed|a pixel is off"),
    "labels a little off": ("MixUp", other_labels, "a share is off by 0.01"),
    "labels a little off, cut": ("CutMix", other_labels, "a share is off by 0.01"),
}


@pytest.mark.parametrize("fault", ONE_OP)
def test_faults_of_one_op_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, plant, said = ONE_OP[fault]
    plant(monkeypatch)
    assert re.search(said, problem(op))
