"""Every optimizer on every net, its schedule, and what Muon does to a matrix."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._python_dispatch import TorchDispatchMode

import architectures
from bench import optimizers
from bench.optimizers import _parameters as parameters

NAMES = list(optimizers.catalog.entries)
NETS = list(architectures.catalog.entries)


def make_net(name: str = "cnn4", *, seed: int = 0, width: float = 0.125) -> nn.Module:
    torch.manual_seed(seed)
    return architectures.build(name, width=width)


def built(name: str, net: nn.Module, batch_size: int = 128, **changes: Any) -> Any:
    """The torch optimizer with its default settings."""
    entry = optimizers.catalog.get(name)
    return entry.build(net, replace(entry.default_recipe(batch_size), **changes))


def gradients(net: nn.Module, *, seed: int = 1) -> None:
    """Gives every parameter a random gradient, without the cost of a backward pass."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draws)


def group_of(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    return {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }


def test_catalog_is_whole() -> None:
    assert not optimizers.catalog.broken
    assert {"sgd", "adamw", "muon"} <= set(NAMES)
    for entry in optimizers.catalog.entries.values():
        assert entry.why.endswith(".")
        assert "http" in entry.reference
        assert set(dict(entry.recipe.options)) <= set(entry.options)


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_once_and_decay_only_for_weights(name: str, net_name: str) -> None:
    net = make_net(net_name)
    optimizer = built(name, net)
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in net.parameters())
    weights = {
        id(module.weight) for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    for parameter_id, group in group_of(optimizer).items():
        assert (group["weight_decay"] > 0) == (parameter_id in weights)
        assert group["lr"] > 0


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("name", NAMES)
def test_one_step_changes_every_parameter_to_finite_numbers(name: str, net_name: str) -> None:
    net = make_net(net_name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = copy.deepcopy(net.state_dict())
    optimizer = built(name, net)
    gradients(net)
    optimizer.step()
    for key, parameter in net.named_parameters():
        assert torch.isfinite(parameter).all(), key
        assert not torch.equal(parameter, before[key]), key
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
    gradients(net)
    optimizer.step()
    counters = {id(state["step"]) for state in optimizer.state.values() if "step" in state}
    with ReadBack() as mode:
        optimizer.step()
    # Step counters stay in host memory, so reading one waits for nothing.
    assert not [tensor for tensor in mode.read if id(tensor) not in counters]


@pytest.mark.parametrize("name", NAMES)
def test_memorises_a_batch_under_its_schedule(name: str) -> None:
    recipe, net = optimizers.catalog.get(name).default_recipe(64), make_net(width=0.25)
    optimizer = built(name, net, 64)
    steps = 60
    schedule = LambdaLR(optimizer, lambda step: recipe.factor(min(step / steps, 1.0)))
    draws = torch.Generator().manual_seed(2)
    x_BCHW = torch.randn(16, 3, 32, 32, generator=draws)
    labels_B = torch.randint(0, 10, (16,), generator=draws)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(net(x_BCHW), labels_B)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(group["lr"] <= 0.01 * group["initial_lr"] for group in optimizer.param_groups)


@pytest.mark.parametrize("name", NAMES)
def test_same_gradients_same_weights(name: str) -> None:
    nets = [make_net(), make_net()]
    for net in nets:
        optimizer = built(name, net)
        for seed in range(3):
            gradients(net, seed=seed)
            optimizer.step()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "power"), [("sgd", 1.0), ("adamw", 0.5), ("muon", 0.5)])
def test_learning_rate_grows_with_the_batch(name: str, power: float) -> None:
    find = optimizers.catalog.get(name).default_recipe
    peaks = [find(size).lr for size in (64, 128, 1024)]
    assert peaks[1] / peaks[0] == pytest.approx(2**power)
    assert peaks[2] / peaks[1] == pytest.approx(8**power)


@pytest.mark.parametrize("name", NAMES)
def test_schedule_rises_to_one_and_ends_near_zero(name: str) -> None:
    recipe = optimizers.catalog.get(name).recipe
    factors = [recipe.factor(step / 1000) for step in range(1001)]
    peak = factors.index(max(factors))
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[0] >= 0.05, "the first step should not be wasted"
    assert 0 <= factors[-1] <= 0.01


@pytest.mark.parametrize(
    ("net_name", "first", "last"),
    [
        ("resnet18", "stem.0.weight", "head.2.weight"),
        ("mobilenetv2", "features.0.0.weight", "classifier.1.weight"),
        ("convmixer", "stem.0.weight", "head.weight"),
        ("vit_tiny", "patch_embed.proj.weight", "head.weight"),
    ],
)
def test_matrices_are_hidden_and_mix_their_inputs(net_name: str, first: str, last: str) -> None:
    net = make_net(net_name)
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    matrices = {names[id(p)] for p in parameters.sort(net).matrices}
    convolutions = {
        f"{key}.weight": module
        for key, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    depthwise = {key for key, module in convolutions.items() if getattr(module, "groups", 1) > 1}
    assert matrices == set(convolutions) - depthwise - {first, last}
    assert bool(depthwise) == (net_name in {"mobilenetv2", "convmixer"})


@pytest.mark.parametrize("net_name", NETS)
def test_muon_updates_its_matrices_and_nothing_else(net_name: str) -> None:
    net = make_net(net_name, width=0.25)
    optimizer = built("muon", net)
    gradients(net)
    optimizer.step()
    matrices = {id(parameter) for parameter in parameters.sort(net).matrices}
    assert matrices
    for parameter in net.parameters():
        state = optimizer.state[parameter]
        assert ("momentum_buffer" in state) == (id(parameter) in matrices)
        assert ("exp_avg_sq" in state) == (id(parameter) not in matrices)


@pytest.mark.parametrize("shape", [(64, 16, 3, 3), (16, 16, 3, 3), (48, 24), (24, 48)])
def test_muon_update_is_orthogonal(shape: tuple[int, ...]) -> None:
    layers: list[nn.Module] = [nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)]
    torch.manual_seed(0)
    layers[1].weight = nn.Parameter(torch.randn(shape))
    net = nn.Sequential(*layers)
    weight = net.get_parameter("1.weight")
    optimizer = built("muon", net, lr=0.01, weight_decay=0.0)
    gradients(net)
    gradient = weight.grad
    assert gradient is not None
    before = weight.detach().clone()
    optimizer.step()
    step = (before - weight.detach()).reshape(shape[0], -1)
    rows, columns = step.shape
    scale = 0.01 * 0.2 * math.sqrt(max(rows, columns))
    values = torch.linalg.svdvals(step / scale)
    assert values.min() > 0.8
    assert values.max() < 1.2
    assert (step * gradient.reshape(rows, columns)).sum() > 0, "it goes down the gradient"
