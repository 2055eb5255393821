"""Muon: batched orthogonalisation, what an update does to a matrix, and optimizers together."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bench.machine.clock import CompileWatch
from bench.optimizers import _building as parameters
from bench.optimizers import _muon
from bench.optimizers._chained import ChainedOptimizer
from bench.optimizers._muon import (
    QUINTIC,
    Muon,
    as_matrix,
    buckets,
    orthogonal_in,
    orthogonalise,
    work,
)
from tests.made_optimizers import NETS, built, compile_quickly, gradients, make_net, trained

SHAPES = st.lists(st.tuples(st.integers(1, 24), st.integers(1, 24)), min_size=1, max_size=8)
WASTES = st.sampled_from([1.0, 1.25, 4.0, math.inf])


def matrices_of(shapes: list[tuple[int, int]]) -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draws) for shape in shapes]


@settings(deadline=None, max_examples=50)
@given(shapes=SHAPES, waste=WASTES)
def test_buckets_hold_all_and_waste_little(shapes: list[tuple[int, int]], waste: float) -> None:
    found = buckets(shapes, waste)
    assert sorted(index for bucket in found for index in bucket.members) == list(range(len(shapes)))
    for bucket in found:
        for index in bucket.members:
            rows, columns = sorted(shapes[index])
            assert rows <= bucket.rows <= bucket.columns
            assert columns <= bucket.columns
            assert work(bucket.rows, bucket.columns) <= waste * work(rows, columns)


@settings(deadline=None, max_examples=50)
@given(shapes=SHAPES, waste=WASTES)
def test_padded_batches_give_the_same_matrices(shapes: list[tuple[int, int]], waste: float) -> None:
    matrices = [matrix.double() for matrix in matrices_of(shapes)]
    for bucket in buckets(shapes, waste):
        found = orthogonal_in(bucket, matrices, 5, torch.float64)
        for index, one in zip(bucket.members, found, strict=True):
            tall = shapes[index][0] > shapes[index][1]
            alone = orthogonalise((matrices[index].mT if tall else matrices[index])[None], 5)[0]
            torch.testing.assert_close(one, alone.mT if tall else alone)


@pytest.mark.parametrize("steps", [3, 5])
def test_iterations_are_those_of_timm(steps: int) -> None:
    from timm.optim.muon import zeropower_via_newtonschulz

    (matrix,) = matrices_of([(16, 40)])
    theirs = zeropower_via_newtonschulz(matrix, steps, [QUINTIC], dtype=torch.float32)
    torch.testing.assert_close(orthogonalise(matrix[None], steps)[0], theirs)


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert not orthogonalise(torch.zeros(1, 3, 4), 5).any()


def weight_of(shape: tuple[int, ...], layout: torch.memory_format) -> nn.Parameter:
    draws = torch.Generator().manual_seed(1)
    weight = torch.randn(shape, generator=draws)
    return nn.Parameter(weight.to(memory_format=layout) if len(shape) == 4 else weight)


@pytest.mark.parametrize("gradient_layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_changes_no_update(gradient_layout: torch.memory_format) -> None:
    shape = (8, 4, 3, 3)
    weights = [weight_of(shape, lay) for lay in (torch.contiguous_format, torch.channels_last)]
    for weight in weights:
        optimizer = Muon([weight], lr=0.1, momentum=0.9)
        for seed in range(2):
            draws = torch.Generator().manual_seed(seed)
            gradient = torch.randn(shape, generator=draws)
            weight.grad = gradient.contiguous(memory_format=gradient_layout)
            optimizer.step()
    torch.testing.assert_close(weights[0], weights[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(48, 24), (24, 48), (16, 16)])
def test_updates_are_as_in_torch(shape: tuple[int, int]) -> None:
    ours, theirs = (weight_of(shape, torch.contiguous_format) for _ in range(2))
    settings_of: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    muon = Muon([ours], **settings_of)
    muon.orthogonalise_in(torch.bfloat16)  # as torch does
    pairs: list[tuple[nn.Parameter, torch.optim.Optimizer]] = [
        (ours, muon),
        (theirs, torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings_of)),
    ]
    for weight, optimizer in pairs:
        for seed in range(3):
            weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
    start = weight_of(shape, torch.contiguous_format)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.fixture
def captured_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is captured and guarded as usual, but no kernels are made."""
    compile_quickly(monkeypatch)
    torch.compiler.reset()


def made_weights() -> list[nn.Parameter]:
    """Two that share a batch, a wide one and a tall one."""
    return [
        weight_of((6, 4, 3, 3), torch.channels_last),
        weight_of((6, 4, 3, 3), torch.contiguous_format),
        weight_of((4, 20), torch.contiguous_format),
        weight_of((20, 4), torch.contiguous_format),
    ]


def both_sides(**recipe: Any) -> tuple[list[list[nn.Parameter]], list[Muon]]:
    """The same weights twice, the second with compiled updates."""
    sides = [made_weights(), made_weights()]
    optimizers = [Muon(side, lr=0.1, momentum=0.9, **recipe) for side in sides]
    optimizers[1].compile_step()
    return sides, optimizers


def moved(weights: list[nn.Parameter], optimizer: Muon, rates: Sequence[float | Tensor]) -> None:
    """A step at each rate."""
    for seed, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        draws = torch.Generator().manual_seed(seed)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=draws).to(
                memory_format=torch.channels_last if weight.ndim == 4 else torch.contiguous_format
            )
        optimizer.step()


@pytest.mark.parametrize("more", [{"weight_decay": 0.1}, {"rms": None, "renormalise_every": 1}])
@pytest.mark.usefixtures("captured_only")
def test_compiled_updates_are_the_updates_in_one_graph_for_all_rates(more: dict[str, Any]) -> None:
    sides, optimizers = both_sides(steps=3, **more)
    watch = CompileWatch()
    for weights, optimizer in zip(sides, optimizers, strict=True):
        moved(weights, optimizer, [0.1, 0.05, torch.tensor(0.02), 0.01])
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, made_weights()[0])
    assert watch.new_graphs() == 1
    again = made_weights()
    others = Muon(again, lr=0.2, momentum=0.5, steps=3, **more)
    others.compile_step()
    moved(again, others, [0.2, 0.1])
    assert watch.new_graphs() == 0, "another recipe, the same shapes"


@pytest.mark.slow
def test_compiled_kernels_give_the_updates() -> None:
    _muon.compiled_update.cache_clear()
    sides, optimizers = both_sides(weight_decay=0.1, steps=2)
    for weights, optimizer in zip(sides, optimizers, strict=True):
        moved(weights, optimizer, [0.1, 0.05])
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("captured_only")
def test_compiled_updates_are_the_updates_in_gpu_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (_muon.DTYPE, _muon.WASTE):
        monkeypatch.setitem(table, "cpu", table["cuda"])
    sides, optimizers = both_sides(weight_decay=0.1)
    for weights, optimizer in zip(sides, optimizers, strict=True):
        moved(weights, optimizer, [torch.tensor(0.1), torch.tensor(0.05)])
        (rule,) = optimizer._rules.values()
        assert len(rule.buckets) == 1, "all that are alike in a batch"
    for one, other, start in zip(*sides, made_weights(), strict=True):
        assert (one - other).norm() < 0.02 * (one - start).norm()


@pytest.mark.usefixtures("captured_only")
def test_optimizers_together_compile_those_that_can_be() -> None:
    weights = made_weights()
    muon = Muon(weights, lr=0.1, momentum=0.9)
    rest = nn.Parameter(torch.ones(2))
    rest.grad = torch.ones(2)
    both = ChainedOptimizer(muon, torch.optim.SGD([rest], lr=0.5))
    both.compile_step()
    watch = CompileWatch()
    moved(weights, muon, [0.1])
    assert watch.new_graphs() == 1
    both.step()
    assert rest.tolist() == [0.5, 0.5]


def test_renormalised_weights_have_the_norm_of_the_root_of_their_outputs() -> None:
    weights = [weight_of((9, 4, 3, 3), torch.channels_last), nn.Parameter(torch.zeros(4, 4))]
    optimizer = Muon(weights, lr=1e-9, momentum=0.6, rms=None, renormalise_every=1)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert float(weights[0].detach().norm()) == pytest.approx(3.0, rel=1e-5)
    assert torch.isfinite(weights[1]).all()


def test_rarer_renormalisation_is_work_of_the_host() -> None:
    weight = weight_of((9, 4, 3, 3), torch.channels_last)
    optimizer = Muon([weight], lr=1e-9, momentum=0.6, rms=None, renormalise_every=3)
    both = ChainedOptimizer(optimizer, torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1))
    norms = [weight.detach().norm().item()]
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        both.step()
        both.host_step()
        norms.append(weight.detach().norm().item())
    assert norms[:3] == pytest.approx(norms[:1] * 3, rel=1e-5)
    assert norms[0] != pytest.approx(3.0, rel=0.1)
    assert norms[3] == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("shape", [(64, 16, 3, 3), (16, 16, 3, 3), (48, 24), (24, 48)])
def test_an_update_goes_down_the_gradient_with_adams_size(shape: tuple[int, ...]) -> None:
    weight = weight_of(shape, torch.channels_last)
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    before = weight.detach().clone()
    Muon([weight], lr=0.01, momentum=0.95).step()
    change = (before - weight).detach()
    largest = max(as_matrix(change).shape)
    values = torch.linalg.svdvals(as_matrix(change)) / (0.01 * 0.2 * math.sqrt(largest))
    assert 0.6 < values.min() <= values.max() < 1.3
    assert (change * weight.grad).sum() > 0


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("name", ["muon", "muon_sgd"])
def test_matrices_have_momentum_and_the_rest_another_optimizer(name: str, net_name: str) -> None:
    net = make_net(net_name)
    optimizer = built(name, net)
    gradients(net)
    optimizer.step()
    (muon, _) = optimizer.parts
    matrices = {id(parameter) for parameter in parameters.split_parameters(net).matrices}
    assert matrices
    assert {id(p) for group in muon.param_groups for p in group["params"]} == matrices
    for parameter in trained(net):
        of_adam = "exp_avg_sq" in optimizer.state[parameter]
        assert of_adam == (name == "muon" and id(parameter) not in matrices)


def test_optimizers_together_share_groups_states_and_a_schedule() -> None:
    one, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    parts = [torch.optim.SGD([one], lr=0.5, momentum=0.9), torch.optim.AdamW([other], lr=0.1)]
    both = ChainedOptimizer(*parts)
    schedule = LambdaLR(both, [lambda step: 1 / (step + 1)] * 2)
    for parameter in (one, other):
        parameter.grad = torch.ones_like(parameter)
    assert one not in both.state
    both.step()
    schedule.step()
    assert [group["lr"] for group in both.param_groups] == [0.25, 0.05]
    assert [part.param_groups[0]["lr"] for part in parts] == [0.25, 0.05]
    assert list(both.state) == [one, other]
    assert both.state[one] is parts[0].state[one]
    assert len(both.state) == 2
    assert torch.equal(one.detach(), torch.full((2,), 0.5 - 0.45 + 0.45))
    both.zero_grad()
    assert one.grad is None
    assert other.grad is None
