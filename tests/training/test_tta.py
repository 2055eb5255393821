"""Views of test images: content and weights."""

import pytest
import torch

from bench.cell import EVAL_VIEWS
from bench.training.tta import WEIGHTS, averaged_logits, views


@pytest.mark.parametrize("count", EVAL_VIEWS)
def test_each_view_has_a_weight(count: int) -> None:
    images = torch.randn(2, 3, 8, 8)
    assert len(views(images, count)) == len(WEIGHTS[count]) == count
    assert sum(WEIGHTS[count]) == 1.0
    assert torch.equal(views(images, count)[0], images)


def test_shifted_views_are_shifted_by_one_pixel() -> None:
    images = torch.randn(2, 3, 8, 8)
    found = views(images, 6)
    assert torch.equal(found[1], images.flip(3))
    assert torch.equal(found[2][:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(found[2][:, :, 0, 1:], images[:, :, 1, :-1])  # reflected
    assert torch.equal(found[4][:, :, :-1, :-1], images[:, :, 1:, 1:])
    assert torch.equal(found[3], found[2].flip(3))


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_averaged_and_plain_logits_are_returned(memory_format: torch.memory_format) -> None:
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=memory_format)
    position = torch.arange(8.0)

    def forward(x_BCHW: torch.Tensor) -> torch.Tensor:
        assert x_BCHW.is_contiguous(memory_format=memory_format)
        return (x_BCHW * position).mean(dim=(2, 3)).to(torch.bfloat16)

    total, plain = averaged_logits(forward, images, 2)
    assert total.dtype == plain.dtype == torch.float32
    torch.testing.assert_close(plain, forward(images).float())
    mirrored = forward(images.flip(3).contiguous(memory_format=memory_format))
    torch.testing.assert_close(total, (plain + mirrored.float()) / 2)
    assert torch.equal(*averaged_logits(forward, images, 1))
