"""Batches have the requested form, and all pipelines share one evaluation path."""

import pytest
import torch

from pipelines import building
from pipelines.base import normalise
from pipelines.verification.made_images import numbered
from tests.contract.variants import build, variants

every_variant = pytest.mark.parametrize("variant", variants())
QUICK_FORMS = ((torch.float32, torch.channels_last), (torch.float16, torch.contiguous_format))


@pytest.mark.parametrize(
    ("dtype", "memory_format"),
    [
        pytest.param(dtype, form, marks=() if (dtype, form) in QUICK_FORMS else pytest.mark.slow)
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
        for form in (torch.channels_last, torch.contiguous_format)
    ],
)
@every_variant
def test_batches_have_the_requested_shape_dtype_and_memory_format(
    variant: str, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    images = numbered(128)
    with build(
        variant, images, (), batch_size=64, dtype=dtype, memory_format=memory_format
    ) as pipeline:
        x_BCHW, labels_B = next(iter(pipeline.epoch(0)))
        index_B = pipeline.permutation(0)[0]
    assert x_BCHW.shape == (64, 3, 16, 16)
    assert x_BCHW.dtype == dtype
    assert x_BCHW.device.type == "cpu"
    assert x_BCHW.is_contiguous(memory_format=memory_format)
    assert not x_BCHW.requires_grad
    assert labels_B.dtype == torch.int64
    assert labels_B.shape == (64,)
    assert torch.equal(labels_B, images.labels[index_B])
    expected = normalise(images.images[index_B], images, torch.float32)
    atol, rtol = (1e-5, 1e-5) if dtype == torch.float32 else (0.02, 0.01)
    torch.testing.assert_close(x_BCHW.float(), expected, atol=atol, rtol=rtol)


@every_variant
def test_only_pipelines_that_declare_replays_have_a_cursor(variant: str) -> None:
    with build(variant, numbered(64), ()) as pipeline:
        assert (pipeline.cursor() is not None) == building.parse(variant).library.replays


@every_variant
def test_evaluation_is_the_same_code_for_all(variant: str) -> None:
    images = numbered(100)
    with building.build(variant, images, "flip_crop", batch_size=64, training=False) as pipeline:
        batches = list(pipeline.epoch(0))
    assert [len(x) for x, _ in batches] == [64, 36]
    expected = normalise(images.images, images, torch.float32)
    assert torch.equal(torch.cat([x for x, _ in batches]), expected)
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
