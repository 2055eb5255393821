"""Compiled nets and losses: right gradients of pools, and no outdated code from the cache."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache
from torch.nn import functional as F

from bench.machine.clock import cache_counts
from bench.training import compiling
from tests.fake_cuda.inductor import own_decompositions
from tests.made import made_cell

POOLS = {"2": nn.MaxPool2d(2), "3 by 2": nn.MaxPool2d(3, 2, 1), "global": nn.MaxPool2d(8)}


@pytest.fixture(autouse=True)
def decompositions_restored() -> Iterator[None]:
    torch._dynamo.reset()
    with own_decompositions():
        yield


def gradient(net: nn.Module) -> Tensor:
    x_BCHW = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    net(x_BCHW).square().sum().backward()
    assert x_BCHW.grad is not None
    return x_BCHW.grad


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLS)
def test_gathered_pools_have_the_same_gradients(name: str) -> None:
    expected = gradient(POOLS[name])
    found = gradient(compiling.compiled_net(POOLS[name], made_cell(compile=True)))
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_code_with_the_decomposition_does_not_come_from_the_cache() -> None:
    net = nn.MaxPool2d(2)
    with fresh_cache():
        counts = []
        for compiled in (torch.compile, torch.compile, gathered, gathered):
            torch._dynamo.reset()
            before = cache_counts()
            gradient(compiled(net))
            counts.append(dict(cache_counts() - before))
    assert [bool(each.get("hit")) for each in counts] == [False, True, False, True]


def gathered(net: nn.Module) -> nn.Module:
    return compiling.compiled_net(net, made_cell(compile=True))


def test_options_and_the_compiled_loss_are_for_a_gpu_only() -> None:
    assert compiling.options(made_cell(device="cpu")) is None
    cell = made_cell(device="cuda", compile=True)
    assert compiling.options(cell) == {"combo_kernels": True}
    timed = compiling.options(replace(cell, compile_mode="max-autotune"))
    assert timed is not None
    assert timed["max_autotune"]
    assert not timed.get("triton.cudagraphs")  # the suite captures whole steps itself
    assert compiling.loss_of(cell) is compiling.compiled_loss()
    assert compiling.loss_of(replace(cell, compile=False)) is F.cross_entropy
    assert compiling.loss_of(replace(cell, device="cpu")) is F.cross_entropy
