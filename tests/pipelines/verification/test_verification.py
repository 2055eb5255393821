"""Verification detects every fault that is planted in a pipeline.

The quick tier plants faults of delivery and draws with one op of each kind, the slow tier with all.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines import building, native
from pipelines import ops as all_ops
from pipelines.base import Batch, BrokenPromise, Pipeline, derive_seed, flipped
from pipelines.evaluation import EvaluationPipeline
from pipelines.native_ops import auto, mixes, moves
from pipelines.native_ops.moves import Places
from pipelines.ops import Crop, HorizontalFlip, MixUp, Op, RandomErasing
from pipelines.verification.checks import POLICIES, verify
from pipelines.verification.draws import check_draws
from pipelines.verification.readers import reader_for
from pipelines.verification.trial import Trial

PIPELINE = "native[eager]"
Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


@pytest.fixture(autouse=True)
def _fresh_kernels() -> Iterator[None]:
    native.kernels.cache_clear()
    yield
    native.kernels.cache_clear()


def problem(op: str) -> str:
    finding = verify(PIPELINE, op, "cpu")
    assert finding.status in ("ok", "wrong"), finding
    return finding.problem


def problem_of_draws(op: str) -> str:
    try:
        check_draws(Trial(PIPELINE, POLICIES[op], "cpu"), reader_for(POLICIES[op]))
    except BrokenPromise as broken:
        return str(broken)
    return ""


# The three automatic policies are read alike; TrivialAugment is the fastest.
UNDRAWN = ("none", "ColorJitter, pinned", "AlternatingFlip", "RandAugment", "AutoAugment")
DRAWING = [op for op in POLICIES if op not in UNDRAWN]
FROM_UNIFORM = [op for op in DRAWING if op not in ("MixUp", "HorizontalFlip")]
KINDS = ("none", "Crop reflect", "ColorJitter", "TrivialAugment", "MixUp")  # one op of each
OPS = [
    pytest.param(list(KINDS), id="one op of each kind"),
    pytest.param(list(POLICIES), id="every op", marks=pytest.mark.slow),
]


def test_every_op_is_verified() -> None:
    kinds = {
        kind
        for kind in vars(all_ops).values()
        if isinstance(kind, type) and issubclass(kind, Op) and kind is not Op
    }
    assert kinds == {type(op) for ops in POLICIES.values() for op in ops}


def planted(fault: Callable[[list[Batch]], list[Batch]]) -> Plant:
    def plant(patch: Patch) -> None:
        right = native.NativePipeline.epoch

        def epoch(self: native.NativePipeline, index: int) -> Iterator[Batch]:
            yield from fault(list(right(self, index)))

        patch.setattr(native.NativePipeline, "epoch", epoch)

    return plant


def each(fault: Callable[[Tensor, Tensor], Batch]) -> Plant:
    return planted(lambda batches: [fault(x, y) for x, y in batches])


def first_twice(x: Tensor, y: Tensor) -> Batch:
    return torch.cat([x[:1], x[:-1]]), torch.cat([y[:1], y[:-1]])


def other_std(x: Tensor, y: Tensor) -> Batch:
    ratio = torch.tensor([0.25 / 0.2470, 0.24 / 0.2435, 0.26 / 0.2616])
    return x * ratio[:, None, None], y


DELIVERY: dict[str, tuple[Plant, str]] = {
    "labels shifted by one": (each(lambda x, y: (x, y.roll(1, 0))), "labels"),
    "a sample twice": (each(first_twice), "labels|samples|pixel"),
    "a batch in another order": (each(lambda x, y: (x.flip(0), y.flip(0))), "labels|samples"),
    "batches in another order": (planted(lambda batches: batches[::-1]), "labels|samples"),
    "a batch of what is left over": (
        planted(lambda batches: [*batches, (batches[0][0][:9], batches[0][1][:9])]),
        "an epoch has",
    ),
    "another std": (each(other_std), "pixel|samples|labels"),
    "another dtype": (each(lambda x, y: (x.to(torch.bfloat16), y)), "images are torch.bfloat16"),
    "labels of another dtype": (each(lambda x, y: (x, y.to(torch.int32))), "labels are"),
    "another memory format": (
        each(lambda x, y: (x.contiguous(memory_format=torch.contiguous_format), y)),
        "memory is not in torch.channels_last",
    ),
    "another device": (each(lambda x, y: (x.to("meta"), y)), "a batch is on the device meta"),
    "a number that is none": (
        each(lambda x, y: (torch.where(x == x.max(), torch.nan, x), y)),
        "is not a number",
    ),
}


@pytest.mark.parametrize("ops", OPS)
@pytest.mark.parametrize("fault", DELIVERY)
def test_faults_of_delivery(fault: str, ops: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plant, reason = DELIVERY[fault]
    plant(monkeypatch)
    problems = {op: problem(op) for op in ops}
    assert not {op: text for op, text in problems.items() if not re.search(reason, text)}


def test_an_augmented_evaluation_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mirrored(EvaluationPipeline):
        def epoch(self, index: int) -> Iterator[Batch]:
            return ((x.flip(3), y) for x, y in super().epoch(index))

    monkeypatch.setattr(building, "EvaluationPipeline", Mirrored)
    assert problem("Crop reflect") == "evaluation changes pixels"


def seeded(change: Callable[..., int]) -> Plant:
    """Another seed of the draws than ours; the order stays."""

    def plant(patch: Patch) -> None:
        patch.setattr(native, "derive_seed", change)

    return plant


def drawn(change: Callable[[Tensor, Tensor], Tensor]) -> Plant:
    """Other uniform numbers than ours, from the samples and from our numbers."""

    def plant(patch: Patch) -> None:
        right = native.NativePipeline.batch

        def batch(
            self: native.NativePipeline, index_B: Tensor, u_BK: Tensor, *others: Any
        ) -> Batch:
            return right(self, index_B, change(index_B, u_BK), *others)

        patch.setattr(native.NativePipeline, "batch", batch)

    return plant


def by_sample(index_B: Tensor, u_BK: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(10_000, u_BK.shape[1], generator=generator)[index_B]


DRAWS: dict[str, tuple[Plant, list[str], str]] = {
    "the same draws each epoch": (
        seeded(lambda seed, name, index: derive_seed(seed, name, 0)),
        DRAWING,
        "predicts the next epoch's",
    ),
    "draws that ignore the seed": (
        seeded(lambda seed, name, index: derive_seed(0, name, index)),
        DRAWING,
        "predicts another seed's",
    ),
    "one draw for the whole batch": (
        drawn(lambda index_B, u_BK: u_BK[:1].expand_as(u_BK)),
        [op for op in DRAWING if op != "MixUp"],
        "not drawn as declared|predicts",
    ),
    "one draw for two samples": (
        drawn(lambda index_B, u_BK: u_BK[::2].repeat_interleave(2, dim=0)),
        [op for op in DRAWING if op not in ("MixUp", "CutMix")],
        "not drawn as declared|predicts",
    ),
    "draws that go with the sample": (
        drawn(by_sample),
        [op for op in DRAWING if op != "MixUp"],
        "predicts",
    ),
    "draws that miss the end of the range": (
        drawn(lambda index_B, u_BK: u_BK * 0.9),
        [op for op in FROM_UNIFORM if op != "CutMix"],
        "not drawn as declared",
    ),
}


@pytest.mark.parametrize("tried", OPS)
@pytest.mark.parametrize("fault", DRAWS)
def test_faults_of_draws(fault: str, tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plant, ops, reason = DRAWS[fault]
    plant(monkeypatch)
    problems = {op: problem_of_draws(op) for op in ops if op in tried}
    assert not {op: text for op, text in problems.items() if not re.search(reason, text)}


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


def mixed_with(**changes: Any) -> Plant:
    def plant(patch: Patch) -> None:
        for kind, mix in list(mixes.MIXES.items()):
            patch.setitem(mixes.MIXES, kind, replace(mix, **changes))

    return plant


def other_partner(patch: Patch) -> None:
    """Images and labels both mixed with the next of the batch instead of the one before."""
    right = native.NativePipeline.batch

    def batch(self: Pipeline, index_B: Tensor, *others: Any) -> Batch:
        x, y = right(self, index_B.flip(0), *others)
        return x.flip(0), y.flip(0)

    patch.setattr(native.NativePipeline, "batch", batch)


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


BLACK = moves.Paint(mean=False, border=False)
MEAN_BORDER = moves.Paint(mean=True, border=True)
ONE_OP: dict[str, tuple[str, Plant, str]] = {
    "ends at half weight": ("Crop zero", crop_with(offsets(0, 9, half=True)), "not drawn as decl"),
    "one offset for both": (
        "Crop reflect",
        crop_with(lambda op, u_B2: u_B2[:, :1].expand_as(u_B2)),
        "Crop down predicts Crop right",
    ),
    "a border of the mean": ("Crop zero", painted_with(Crop, MEAN_BORDER), "a pixel is off"),
    "a black rectangle": ("RandomErasing", painted_with(RandomErasing, BLACK), "a pixel is off"),
    "an op that never comes": ("TrivialAugment", picked(never_the_last), "op is not drawn"),
    "a flip of 0.45": ("HorizontalFlip", flip_with(0.45), "not drawn as declared"),
    "flips that do not alternate": (
        "AlternatingFlip",
        lambda patch: patch.setattr(native, "flipped", lambda request, index: flipped(request, 0)),
        "do not show both sides",
    ),
    "weights of another alpha": ("MixUp", mixed_with(weight=weight(1.0)), "not drawn as declared"),
    "areas of another alpha": ("CutMix", mixed_with(weight=weight(1.2)), "not drawn as declared"),
    "one weight for the batch": ("MixUp", mixed_with(weight=shared_weight), "weight"),
    "another partner": ("CutMix", other_partner, "labels are not mixed|a pixel is off"),
    "labels a little off": ("CutMix", other_labels, "a share is off by 0.01"),
}


@pytest.mark.parametrize("fault", ONE_OP)
def test_faults_of_one_op_are_detected(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, plant, reason = ONE_OP[fault]
    plant(monkeypatch)
    assert re.search(reason, problem(op))
