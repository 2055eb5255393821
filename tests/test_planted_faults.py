"""Verification finds each fault that a sceptic would plant in a pipeline, with every op."""

import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from pipelines import building, native
from pipelines.base import Batch, derive_seed
from pipelines.evaluation import EvaluationPipeline
from pipelines.verification.checks import TRIED
from tests.planting import Patch, Plant, fresh_kernels, problem, problem_of_draws

__all__ = ["fresh_kernels"]  # a fixture

pytestmark = pytest.mark.usefixtures("fresh_kernels")

# The three automatic policies are looked at in the same way; TrivialAugment is the quickest.
UNDRAWN = ("none", "ColorJitter, pinned", "AlternatingFlip", "RandAugment", "AutoAugment")
DRAWING = [op for op in TRIED if op not in UNDRAWN]
FROM_UNIFORM = [op for op in DRAWING if op not in ("MixUp", "HorizontalFlip")]


def planted(fault: Callable[[list[Batch]], list[Batch]]) -> Plant:
    """A fault in what an epoch delivers."""

    def plant(patch: Patch) -> None:
        right = native.NativePipeline.epoch

        def epoch(self: native.NativePipeline, index: int) -> Iterator[Batch]:
            yield from fault(list(right(self, index)))

        patch.setattr(native.NativePipeline, "epoch", epoch)

    return plant


def each(fault: Callable[[Tensor, Tensor], Batch]) -> Plant:
    """A fault in every batch."""
    return planted(lambda batches: [fault(x, y) for x, y in batches])


def first_twice(x: Tensor, y: Tensor) -> Batch:
    return torch.cat([x[:1], x[:-1]]), torch.cat([y[:1], y[:-1]])


def image_twice(x: Tensor, y: Tensor) -> Batch:
    return torch.cat([x[:1], x[:-1]]).contiguous(memory_format=torch.channels_last), y


def other_std(x: Tensor, y: Tensor) -> Batch:
    """CIFAR-10's instead of the source's."""
    ratio = torch.tensor([0.25 / 0.2470, 0.24 / 0.2435, 0.26 / 0.2616])
    return x * ratio[:, None, None], y


DELIVERY: dict[str, tuple[Plant, str]] = {
    "labels shifted by one": (each(lambda x, y: (x, y.roll(1, 0))), "labels"),
    "a sample twice": (each(first_twice), "labels|samples|pixel"),
    "an image twice": (each(image_twice), "labels|samples"),
    "a batch in another order": (each(lambda x, y: (x.flip(0), y.flip(0))), "labels|samples"),
    "batches in another order": (planted(lambda batches: batches[::-1]), "labels|samples"),
    "a batch missing": (planted(lambda batches: batches[:-1]), "an epoch has"),
    "a batch of what is left over": (
        planted(lambda batches: [*batches, (batches[0][0][:9], batches[0][1][:9])]),
        "an epoch has",
    ),
    "another std": (each(other_std), "pixel|samples|labels"),
    "another mean": (each(lambda x, y: (x + 0.01, y)), "pixel|samples|labels|brightness"),
    "another dtype": (each(lambda x, y: (x.to(torch.bfloat16), y)), "images are torch.bfloat16"),
    "labels of another dtype": (each(lambda x, y: (x, y.to(torch.int32))), "labels are"),
    "another memory format": (
        each(lambda x, y: (x.contiguous(memory_format=torch.contiguous_format), y)),
        "memory is not in torch.channels_last",
    ),
    "another device": (each(lambda x, y: (x.to("meta"), y)), "a batch lies on the meta"),
    "a number that is none": (
        each(lambda x, y: (torch.where(x == x.max(), torch.nan, x), y)),
        "is not a number",
    ),
}


@pytest.mark.parametrize("fault", DELIVERY)
def test_faults_of_delivery_are_found_with_every_op(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, said = DELIVERY[fault]
    plant(monkeypatch)
    found = {op: problem(op) for op in TRIED}
    assert not {op: text for op, text in found.items() if not re.search(said, text)}


def augmented_evaluation(patch: Patch) -> None:
    class Mirrored(EvaluationPipeline):
        def epoch(self, index: int) -> Iterator[Batch]:
            return ((x.flip(3), y) for x, y in super().epoch(index))

    patch.setattr(building, "EvaluationPipeline", Mirrored)


def test_an_augmented_evaluation_is_found_with_every_op(monkeypatch: pytest.MonkeyPatch) -> None:
    augmented_evaluation(monkeypatch)
    assert {problem(op) for op in TRIED} == {"evaluation changes pixels"}


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
            self: native.NativePipeline, index_B: Tensor, u_BK: Tensor, generator: torch.Generator
        ) -> Batch:
            return right(self, index_B, change(index_B, u_BK), generator)

        patch.setattr(native.NativePipeline, "batch", batch)

    return plant


def by_sample(index_B: Tensor, u_BK: Tensor) -> Tensor:
    """Each sample's own numbers, the same in every epoch."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(10_000, u_BK.shape[1], generator=generator)[index_B]


DRAWS: dict[str, tuple[Plant, list[str], str]] = {
    "the same draws each epoch": (
        seeded(lambda seed, name, index: derive_seed(seed, name, 0)),
        DRAWING,
        "tells the next epoch's",
    ),
    "draws that ignore the seed": (
        seeded(lambda seed, name, index: derive_seed(0, name, index)),
        DRAWING,
        "tells another seed's",
    ),
    "one draw for the whole batch": (
        drawn(lambda index_B, u_BK: u_BK[:1].expand_as(u_BK)),
        [op for op in DRAWING if op != "MixUp"],
        "not drawn as declared|tells",
    ),
    "one draw for two samples": (
        drawn(lambda index_B, u_BK: u_BK[::2].repeat_interleave(2, dim=0)),
        [op for op in DRAWING if op not in ("MixUp", "CutMix")],
        "not drawn as declared|tells",
    ),
    "draws that go with the sample": (
        drawn(by_sample),
        [op for op in DRAWING if op != "MixUp"],
        "tells",
    ),
    "draws that miss the end of the range": (
        drawn(lambda index_B, u_BK: u_BK * 0.9),
        [op for op in FROM_UNIFORM if op != "CutMix"],
        "not drawn as declared",
    ),
}


@pytest.mark.parametrize("fault", DRAWS)
def test_faults_of_draws_are_found_with_every_op_that_draws(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, ops, said = DRAWS[fault]
    plant(monkeypatch)
    found = {op: problem_of_draws(op) for op in ops}
    assert not {op: text for op, text in found.items() if not re.search(said, text)}
