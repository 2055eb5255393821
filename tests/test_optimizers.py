"""Every optimizer: what it gets, what a step does, and that it learns."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bench import optimizers
from bench.prepare import factors
from bench.rates import Rates
from tests.made_optimizers import NAMES, NETS, built, gradients, make_net, take_step, trained

# Their first step only measures the gradient.
LATE = {"adopt": 2}
# Read a value back in a step, as their files say.
WAITING = {"kron"}


def test_catalog_is_whole() -> None:
    assert not optimizers.catalog.broken
    assert {"sgd", "adamw", "muon", "lion", "sam", "schedule_free_adamw"} <= set(NAMES)
    for entry in optimizers.catalog.entries.values():
        assert entry.why.endswith(".")
        assert "http" in entry.reference
        assert set(dict(entry.recipe.options)) <= set(entry.options)


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_once_and_decay_only_for_weights(name: str, net_name: str) -> None:
    net = make_net(net_name)
    optimizer = built(name, net, weight_decay=0.01)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in trained(net))
    weights = {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    for parameter_id, group in group_of.items():
        assert group["lr"] > 0
        if name == "muon_sgd" and parameter_id in weights:
            continue  # its matrices keep their norm instead
        assert (group["weight_decay"] > 0) == (parameter_id in weights)


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("name", NAMES)
def test_one_step_changes_every_parameter_to_finite_numbers(name: str, net_name: str) -> None:
    net = make_net(net_name)
    before = copy.deepcopy(net.state_dict())
    optimizer = built(name, net)
    for _ in range(LATE.get(name, 1)):
        gradients(net)
        take_step(name, optimizer, partial(gradients, net, seed=2))
    for key, parameter in net.named_parameters():
        assert torch.isfinite(parameter).all(), key
        assert torch.equal(parameter, before[key]) != parameter.requires_grad, key
        assert parameter.stride() == before[key].stride(), key


class ReadBack(TorchDispatchMode):
    """Notes every tensor whose value is read by Python, which a GPU would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.read.append(args[0])
        return func(*args, **(kwargs or {}))


def test_read_back_is_noticed() -> None:
    with ReadBack() as mode:
        torch.ones(1).item()
    assert len(mode.read) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reads_nothing_back(name: str) -> None:
    net = make_net()
    optimizer = built(name, net)
    for _ in range(2):
        gradients(net)
        take_step(name, optimizer, partial(gradients, net, seed=2))
    holders = [*optimizer.state.values(), *optimizer.param_groups]
    counters = {id(holder["step"]) for holder in holders if "step" in holder}
    gradients(net)
    with ReadBack() as mode:
        take_step(name, optimizer, lambda: None)
    # Step counters stay in host memory, so reading one waits for nothing.
    assert bool([t for t in mode.read if id(t) not in counters]) == (name in WAITING)


@pytest.mark.parametrize("name", NAMES)
def test_memorises_a_batch_under_its_schedule(name: str) -> None:
    entry, net, steps = optimizers.catalog.get(name), make_net(width=0.25), 60
    recipe, optimizer = entry.default_recipe(64), built(name, net, 64)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = Rates(optimizer, factors(optimizer, recipe, steps), steps)
    draws = torch.Generator().manual_seed(2)
    x_BCHW = torch.randn(16, 3, 32, 32, generator=draws)
    labels_B = torch.randint(0, 10, (16,), generator=draws)

    def backward() -> Tensor:
        loss = F.cross_entropy(net(x_BCHW), labels_B)
        loss.backward()
        return loss

    losses = []
    for _ in range(steps):
        losses.append(backward().item())
        take_step(name, optimizer, backward)
        schedule.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.4 * losses[0]
    falls = recipe.schedule != "constant"
    rates = [group["lr"] for group in optimizer.param_groups]
    assert all((r <= 0.01 * peak) == falls for r, peak in zip(rates, peaks, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_same_gradients_same_weights(name: str) -> None:
    nets = [make_net(), make_net()]
    for net in nets:
        optimizer = built(name, net)
        torch.manual_seed(3)  # as a run does before it trains
        for seed in range(3):
            gradients(net, seed=seed)
            take_step(name, optimizer, partial(gradients, net, seed=seed + 9))
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_what_gets_no_gradient_stays(name: str) -> None:
    net = make_net()
    optimizer = built(name, net)
    frozen, *others = trained(net)
    for seed in range(2):
        gradients(net, seed=seed)
        if seed:
            before = [parameter.detach().clone() for parameter in (frozen, others[0])]
            frozen.grad = None
        take_step(name, optimizer, lambda: None if frozen.grad is None else gradients(net))
    assert torch.equal(frozen, before[0])


@pytest.mark.parametrize(
    ("name", "power"), [("sgd", 1.0), ("sam", 1.0), ("adamw", 0.5), ("muon", 0.5), ("lion", 0.5)]
)
def test_learning_rate_grows_with_the_batch(name: str, power: float) -> None:
    find = optimizers.catalog.get(name).default_recipe
    peaks = [find(size).lr for size in (64, 128, 1024)]
    assert peaks[1] / peaks[0] == pytest.approx(2**power)
    assert peaks[2] / peaks[1] == pytest.approx(8**power)


@pytest.mark.parametrize("name", NAMES)
def test_schedule_rises_to_one_and_ends_near_zero(name: str) -> None:
    entry = optimizers.catalog.get(name)
    found = [entry.recipe.factor(step / 1000) for step in range(1001)]
    peak = found.index(max(found))
    assert max(found) == pytest.approx(1.0, abs=1e-3)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] >= 0.05, "the first step should not be wasted"
    assert found[-1] == 1.0 if entry.settles else 0 <= found[-1] <= 0.01
