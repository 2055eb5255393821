"""Epochs and batches of one pipeline do not disturb each other; for every variant.

That each has every sample once, in order and reproducibly, is verified in `test_draws.py`.
"""

import pytest
import torch
from torch import Tensor

from pipelines.base import Pipeline
from pipelines.ops import Crop, HorizontalFlip
from pipelines.verification.made_images import copies, numbered
from tests.contract.variants import build, variants

OPS = (Crop(pad=2), HorizontalFlip())
COUNT, BATCH = 500, 64

every_variant = pytest.mark.parametrize("variant", variants())


def epoch(pipeline: Pipeline, index: int) -> tuple[Tensor, Tensor]:
    batches = list(pipeline.epoch(index))
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])


@every_variant
def test_an_epoch_that_is_cut_off_does_not_spoil_the_next(variant: str) -> None:
    images = numbered(COUNT)
    with build(variant, images, OPS, batch_size=BATCH) as pipeline:
        whole, labels = epoch(pipeline, 5)
        started = pipeline.epoch(9)
        next(started)
        started.close()
        again, labels_again = epoch(pipeline, 5)
    assert torch.equal(whole, again)
    assert torch.equal(labels, labels_again)


@every_variant
def test_a_pipeline_and_the_process_draw_from_separate_generators(variant: str) -> None:
    with build(variant, copies(256), OPS) as pipeline:
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
    with build(variant, copies(256), OPS) as pipeline:
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
    pipeline = build(variant, copies(128), OPS)
    next(iter(pipeline.epoch(0)))
    pipeline.close()
    pipeline.close()
