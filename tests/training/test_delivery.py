"""What a pipeline delivers is counted and compared with what was asked for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.training.delivery import WARMUP_EPOCH, Delivery
from bench.training.run import train
from bench.training.setup import Shared
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, BrokenPromise, Pipeline, Request, Semantics, normalise
from pipelines.kornia import KorniaPipeline
from pipelines.sources.base import Images
from tests.training.test_loop import timed_region
from tests.training.test_run import CELL, builder

CPU = torch.device("cpu")
STEPS, BATCH = 3, 4
Change = Callable[[list[Batch]], Any]


def made_images() -> Images:
    """Thirteen images of three classes, of 5, 4 and 4 images."""
    return Images(
        images=torch.arange(13, dtype=torch.uint8)[:, None, None, None].expand(-1, 6, 8, 3),
        labels=torch.arange(13) % 3,
        classes=("ant", "bee", "cat"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


class Changed(Pipeline):
    """All batches of an epoch, after `change`."""

    def __init__(self, change: Change, only: int | None = None) -> None:
        images, policy = made_images(), Augmentation(ops=[])
        request = Request(images=images, augmentation=policy, batch_size=BATCH, device=CPU)
        super().__init__(request, Semantics(draws={}))
        self._change, self._only = change, only

    def epoch(self, index: int) -> Iterator[Batch]:
        images = self.request.images
        batches = [
            (normalise(images.images[rows], images, torch.float32), images.labels[rows])
            for rows in self.permutation(index)
        ]
        yield from batches if self._only not in (None, index) else self._change(batches)


def seen(pipeline: Pipeline, epochs: int = 2) -> Delivery:
    """What a run sees: the warm-up, then some epochs."""
    delivery = Delivery(
        pipeline, "made", made_images(), batch_size=BATCH, device=CPU, dtype=torch.float32
    )
    delivery.first_batch()
    for index in range(epochs):
        for _ in delivery.epoch(index):
            pass
        delivery.check_epoch(index)
    return delivery


def with_images(edit: Callable[[Tensor], Any]) -> Change:
    return lambda batches: [(edit(x), labels) for x, labels in batches]


def with_labels(edit: Callable[[Tensor], Any]) -> Change:
    return lambda batches: [(x, edit(labels)) for x, labels in batches]


def spoilt(x: Tensor, value: float) -> Tensor:
    x = x.clone()
    x[-1, -1, -1, -1] = value
    return x


def shares(labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.nn.functional.one_hot(labels, 3).to(dtype)


@pytest.mark.parametrize(
    "change",
    [
        list,
        with_labels(shares),
        lambda batches: [batches[0], *with_labels(shares)(batches[1:])],  # mixed by chance
        with_images(lambda x: x.to(memory_format=torch.contiguous_format)),
        lambda batches: ([*pair] for pair in batches),  # lists, as torch's loaders give
    ],
)
def test_kept_promises(change: Change) -> None:
    assert seen(Changed(change)).images == STEPS * BATCH


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda batches: batches[:1], "epoch 1 has 1 batch, not 3"),
        (lambda batches: batches[:2], "epoch 1 has 2 batches, not 3"),
        (lambda batches: [], "the warm-up has 0 batches, not 3"),
        (lambda batches: batches * 2, "epoch 1 has more than 3 batches"),
        (lambda batches: batches[:1] * 3, "epoch 1 has "),
        (lambda batches: [(x[:2], y[:2]) for x, y in batches],
         "batch 1 of the warm-up has images of shape (2, 3, 6, 8), not (4, 3, 6, 8)"),
        (lambda batches: [*batches[:2], (batches[2][0][:1], batches[2][1][:1])],
         "batch 3 of epoch 1 has images of shape (1, 3, 6, 8), not (4, 3, 6, 8)"),
        (with_images(lambda x: x[..., ::2]),
         "batch 1 of the warm-up has images of shape (4, 3, 6, 4), not (4, 3, 6, 8)"),
        (with_images(lambda x: x.permute(0, 2, 3, 1)), "images of shape (4, 6, 8, 3)"),
        (with_images(Tensor.double), "images of type torch.float64, not torch.float32"),
        (with_images(Tensor.bfloat16), "images of type torch.bfloat16, not torch.float32"),
        (with_images(lambda x: x.to("meta")), "images on meta, not cpu"),
        (with_images(Tensor.numpy), "is not a pair of tensors (images, labels)"),
        (with_labels(lambda y: y[:2]), "labels of shape (2,), not (4,)"),
        (with_labels(Tensor.int), "labels of type torch.int32, not torch.int64"),
        (with_labels(lambda y: y[:, None]), "labels of shape (4, 1), not (4, 3)"),
        (with_labels(lambda y: shares(y, torch.float64)), "labels of type torch.float64"),
        (with_labels(lambda y: y.to("meta")), "labels on meta, not cpu"),
        (with_labels(Tensor.tolist), "is not a pair of tensors (images, labels)"),
        (lambda batches: [x for x, _ in batches], "is not a pair of tensors (images, labels)"),
        (with_images(lambda x: spoilt(x, torch.nan)), "pixels of its first batch are not finite"),
        (with_images(lambda x: spoilt(x, torch.inf)), "pixels of its first batch are not finite"),
        (with_labels(lambda y: y + 1), "labels of its first batch are not numbers from 0 to 2"),
        (with_labels(lambda y: y - 1), "labels of its first batch are not numbers from 0 to 2"),
        (with_labels(lambda y: shares(y) / 0), "are not shares of the classes"),
        (with_labels(lambda y: shares(y) * 2), "are not shares of the classes"),
        (with_labels(lambda y: shares(y) * 2 - 1 / 3), "are not shares of the classes"),
        (with_labels(lambda y: 0 * y + 2), "epoch 1 has 12 labels of class cat, which has 4"),
    ],
)  # fmt: skip
def test_broken_promises(change: Change, what: str) -> None:
    with pytest.raises(BrokenPromise, match="the pipeline made breaks its promise") as broken:
        seen(Changed(change))
    assert what in str(broken.value)


def test_promises_hold_in_each_epoch_and_batches_are_not_the_pipelines_choice() -> None:
    with pytest.raises(BrokenPromise, match="epoch 2 has 1 batch, not 3"):
        seen(Changed(lambda batches: batches[:1], only=1))
    with pytest.raises(BrokenPromise, match="labels of epoch 2 are not numbers from 0 to 2"):
        seen(Changed(with_labels(lambda y: y + 1), only=1))
    pipeline = Changed(lambda batches: batches[:1])
    pipeline.steps_per_epoch = 1
    with pytest.raises(BrokenPromise, match="it announces 1 batch an epoch, not 3"):
        seen(pipeline)


def test_labels_are_counted_without_a_wait_in_memory_that_is_used_again() -> None:
    memory = torch.empty(BATCH, dtype=torch.int64)
    assert (
        seen(Changed(lambda batches: ((x, memory.copy_(y)) for x, y in batches))).images
        == STEPS * BATCH
    )
    delivery = seen(Changed(list))
    with timed_region() as waiting:
        assert len(list(delivery.epoch(0))) == STEPS
    assert waiting == []


class Walk:
    """A cursor over given batches."""

    generators = ()

    def __init__(self, batches: list[Batch]) -> None:
        self._batches, self._step = batches, 0

    def prepare(self, index: int) -> None:
        pass

    def begin(self, index: int) -> None:
        self._step = 0

    def next(self) -> Batch:
        self._step += 1
        return self._batches[(self._step - 1) % len(self._batches)]


def test_an_epoch_of_a_cursor_is_checked_in_the_warm_up() -> None:
    batches = list(Changed(list).epoch(WARMUP_EPOCH))
    delivery = seen(Changed(list))
    delivery.check_cursor(Walk(batches))
    assert delivery.images == STEPS * BATCH
    for wrong, what in (
        (batches[:1], "the warm-up has .* labels of class"),
        ([(batches[0][0][:2], batches[0][1])], "images of shape"),
    ):
        with pytest.raises(BrokenPromise, match=what):
            delivery.check_cursor(Walk(wrong))


def test_a_broken_promise_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = KorniaPipeline.epoch
    monkeypatch.setattr(
        KorniaPipeline, "epoch", lambda pipeline, index: iter([next(epoch(pipeline, index))])
    )
    draft = builder(replace(CELL, epochs=3), tmp_path)
    with pytest.raises(BrokenPromise, match=r"pipeline kornia breaks .*: epoch 1 has 1 batch"):
        train(draft, Shared(), lambda point: None)
    assert draft.curve == []
