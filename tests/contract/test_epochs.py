"""Every sample once per epoch, in our order; equal seeds give equal batches. For every variant."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.base import Pipeline
from pipelines.ops import Crop, HorizontalFlip
from pipelines.verification.made_images import alike, numbered, which
from tests.contract.variants import build, variants

OPS = (Crop(pad=2), HorizontalFlip())
COUNT, BATCH = 500, 64

every_variant = pytest.mark.parametrize("variant", variants())


def epoch(pipeline: Pipeline, index: int) -> tuple[Tensor, Tensor]:
    batches = list(pipeline.epoch(index))
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])


@every_variant
def test_each_sample_comes_once_in_our_order_with_its_own_label(variant: str) -> None:
    images = numbered(COUNT)
    with build(variant, images, OPS, batch_size=BATCH) as pipeline:
        assert pipeline.steps_per_epoch == COUNT // BATCH
        for index in (0, 1):
            batches = list(pipeline.epoch(index))
            assert [len(x) for x, _ in batches] == [BATCH] * (COUNT // BATCH)
            numbers = np.concatenate([which(x) for x, _ in batches])
            labels = torch.cat([labels for _, labels in batches])
            assert max(Counter(numbers.tolist()).values()) == 1
            assert numbers.tolist() == pipeline.permutation(index).flatten().tolist()
            assert torch.equal(labels, images.labels[torch.from_numpy(numbers)])


@every_variant
def test_epochs_and_seeds_differ_and_are_reproducible(variant: str) -> None:
    images = alike(256)
    with build(variant, images, OPS, seed=3) as one, build(variant, images, OPS, seed=3) as again:
        first, _ = epoch(one, 0)
        second, _ = epoch(one, 1)
        # `again` goes straight to epoch 1: what ran before does not matter.
        assert torch.equal(epoch(again, 1)[0], second)
        assert torch.equal(epoch(again, 0)[0], first)
    with build(variant, images, OPS, seed=4) as other:
        different, _ = epoch(other, 0)
    for left, right in ((first, second), (first, different)):
        same = (left == right).flatten(1).all(dim=1).float().mean()
        assert same < 0.2  # 50 equally likely outcomes, so 2 % agree by chance


@every_variant
def test_an_epoch_that_is_cut_off_does_not_spoil_the_next(variant: str) -> None:
    images = numbered(COUNT)
    with build(variant, images, OPS, batch_size=BATCH) as pipeline:
        whole, labels = epoch(pipeline, 5)
        started = pipeline.epoch(9)
        next(started)
        started.close()  # type: ignore[attr-defined]
        again, labels_again = epoch(pipeline, 5)
    assert torch.equal(whole, again)
    assert torch.equal(labels, labels_again)


@every_variant
def test_a_pipeline_and_the_process_draw_from_separate_generators(variant: str) -> None:
    with build(variant, alike(256), OPS) as pipeline:
        torch.manual_seed(5)
        expected = torch.rand(4)
        torch.manual_seed(5)
        plain, _ = epoch(pipeline, 0)
        assert torch.equal(torch.rand(4), expected)
        disturbed = []
        for x, _ in pipeline.epoch(0):
            torch.rand(7)  # a dropout layer would
            disturbed.append(x.clone())
    assert torch.equal(plain, torch.cat(disturbed))


@every_variant
def test_batches_can_be_kept_and_changed(variant: str) -> None:
    with build(variant, alike(256), OPS) as pipeline:
        fresh, labels = epoch(pipeline, 0)
        kept = list(pipeline.epoch(0))
        assert torch.equal(torch.cat([x for x, _ in kept]), fresh)
        kept[0][0].zero_()
        kept[0][1].zero_()
        unharmed, labels_again = epoch(pipeline, 0)
    assert torch.equal(unharmed, fresh)
    assert torch.equal(labels, labels_again)


@every_variant
def test_closing_twice_is_safe(variant: str) -> None:
    pipeline = build(variant, alike(128), OPS)
    next(iter(pipeline.epoch(0)))
    pipeline.close()
    pipeline.close()
