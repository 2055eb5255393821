"""Pipelines on a CUDA device."""

import numpy as np
import pytest
import torch

from pipelines import augmentations, building, dali
from pipelines.base import normalise
from pipelines.ops import Crop, HorizontalFlip
from pipelines.verification.made_images import copies, mean_255, noise_image, numbered, pixels
from pipelines.verification.reference import Explainer
from tests.contract.variants import build, variants
from tests.gpu.device import DEVICE, cuda_alone, on_the_device, waiting_is_an_error

pytestmark = on_the_device

every_variant = pytest.mark.parametrize("variant", variants())


@every_variant
def test_batches_are_delivered_on_the_device(variant: str) -> None:
    images = numbered(256)
    with build(variant, images, (), device=DEVICE, dtype=torch.bfloat16) as pipeline:
        for (x_BCHW, labels_B), index_B in zip(
            pipeline.epoch(0), pipeline.permutation(0), strict=True
        ):
            assert x_BCHW.device.type == labels_B.device.type == DEVICE
            assert x_BCHW.is_contiguous(memory_format=torch.channels_last)
            expected = normalise(images.images[index_B], images, torch.float32)
            torch.testing.assert_close(x_BCHW.float().cpu(), expected, atol=0.02, rtol=0.01)
            assert torch.equal(labels_B.cpu(), images.labels[index_B])


@every_variant
def test_ops_give_the_reference_pixels(variant: str) -> None:
    ops = (Crop(pad=2), HorizontalFlip())
    explainer = Explainer(ops, noise_image().astype(np.float64), mean_255())
    with build(variant, copies(512), ops, device=DEVICE) as pipeline:
        found = [pixels(x) for x, _ in pipeline.epoch(0)]
        shared = "per batch" in pipeline.semantics.draws.values()
    drawn, error = explainer.explain(np.concatenate(found))
    assert error.max() < 0.1
    if shared:  # a draw a batch, and hardly ever the same one for all
        each = [len(np.unique(part, axis=0)) for part in np.array_split(drawn, len(found))]
        assert each == [1] * len(found)
        assert len(np.unique(drawn, axis=0)) > 2
    else:
        assert len(np.unique(drawn, axis=0)) == 50


@pytest.mark.parametrize("policy", augmentations.catalog.entries)
def test_libraries_own_ops_run_on_the_device(policy: str) -> None:
    for variant in building.own_variants(augmentations.catalog.get(policy)):
        if building.catalog.get(variant.partition("[")[0]).problem("own", DEVICE):
            continue
        with building.build(
            variant, numbered(256, 32), policy, batch_size=64, device=DEVICE
        ) as own:
            first = [(x.clone(), labels) for x, labels in own.epoch(0)]
            again = list(own.epoch(0))
        for (x_BCHW, labels_B), (other_BCHW, _) in zip(first, again, strict=True):
            assert x_BCHW.device.type == labels_B.device.type == DEVICE
            assert torch.equal(x_BCHW, other_BCHW)


@cuda_alone
@pytest.mark.parametrize("variant", ["native", "native[eager]", "dali"])
def test_an_epoch_never_waits_for_the_device(variant: str) -> None:
    if variant == "dali" and dali.DALI.problem("", DEVICE):
        pytest.skip("dali is not installed")
    with build(variant, copies(512), (Crop(pad=2), HorizontalFlip()), device=DEVICE) as pipeline:
        for _ in pipeline.epoch(0):
            pass
        batches = pipeline.epoch(1)
        next(batches)  # the order of the samples is copied once an epoch
        with waiting_is_an_error():
            for _ in batches:
                pass
