"""The suite's airnet94 computes the same as the plain program that it is timed against."""

import pytest
import torch
from torch import Tensor, nn

import architectures
from bench import optimizers
from bench.grid.recipe_files import book
from bench.training.freezing import Freezing
from bench.training.lr_schedule import LRSchedule
from bench.training.setup import factors
from tests.benchmarks.plain_airnet94 import BATCH, EPOCHS, Net, Plain, normal

DRAWS = torch.Generator().manual_seed(0)
IMAGES_NHWC = torch.randint(0, 256, (BATCH, 32, 32, 3), generator=DRAWS).to(torch.uint8)
LABELS_N = torch.randint(0, 10, (BATCH,), generator=DRAWS)


def ours_like(plain: Net) -> nn.Module:
    net = architectures.build("airnet94").to(memory_format=torch.channels_last)
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), in_our_order(plain), strict=True):
            assert ours.requires_grad == theirs.requires_grad
            ours.copy_(theirs)
    return net


def in_our_order(plain: Net) -> list[nn.Parameter]:
    """The parameters, each block's convolutions before its norms."""
    weights = [plain.whiten.weight, plain.whiten.bias]
    for block in plain.blocks:
        weights += [block.conv1.weight, block.conv2.weight]
        for norm in (block.norm1, block.norm2):
            weights += [norm.weight, norm.bias]
    return [*weights, plain.head.weight]


@pytest.fixture
def plain() -> Plain:
    torch.manual_seed(0)
    return Plain(IMAGES_NHWC, LABELS_N)


def test_the_nets_are_equal(plain: Plain) -> None:
    net, x_BCHW = ours_like(plain.net), normal(IMAGES_NHWC[:16])
    torch.testing.assert_close(net(x_BCHW), plain.net(x_BCHW))
    net.eval()
    plain.net.eval()
    torch.testing.assert_close(net(x_BCHW), plain.net(x_BCHW))


def test_equal_gradients_give_equal_weights_over_a_whole_run(plain: Plain) -> None:
    """With one step per epoch, beyond the end of partly trained parameters."""
    net = ours_like(plain.net)
    recipe, batch_size = book("full").find("airnet94", "muon_sgd", 512)
    assert (batch_size, recipe.label_smoothing) == (BATCH, 0.2)
    freezing = Freezing(net, EPOCHS)
    optimizer = optimizers.catalog.get("muon_sgd").build(net, recipe)
    rates = LRSchedule(optimizer, factors(optimizer, recipe, EPOCHS), EPOCHS)
    before = [weight.detach().clone() for weight in net.parameters()]
    for done in range(EPOCHS):
        give_gradients(net, plain.net)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rates.step()
        freezing.step()
        plain.update(done)
    for ours, theirs, first in zip(net.parameters(), in_our_order(plain.net), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
        scale = first.ndim == 1 and bool((first == 1).all())  # of a norm, which stays one
        assert torch.equal(ours, first) == (first is before[0] or scale)


def give_gradients(net: nn.Module, plain: Net) -> None:
    """Sets random gradients: of a mean loss for one net, of a sum for the other."""
    for ours, theirs in zip(net.parameters(), in_our_order(plain), strict=True):
        if ours.requires_grad:
            mean: Tensor = torch.randn(ours.shape, generator=DRAWS) / BATCH
            ours.grad, theirs.grad = mean.clone(), BATCH * mean
