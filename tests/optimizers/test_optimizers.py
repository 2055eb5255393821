"""Every optimizer: its parameters, its step, and that it learns; then what single ones do."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import optimizers
from bench.machine.clock import CompileWatch
from bench.optimizers import _building as parameters
from bench.optimizers._chained import Sam
from bench.recipe import Recipe
from bench.training.lr_schedule import LRSchedule
from bench.training.setup import factors
from tests import checkout
from tests.made_optimizers import (
    NAMES,
    NETS,
    built,
    gradients,
    made_step,
    make_net,
    take_step,
    trained,
)

# Their first step only measures the gradient.
LATE = {"adopt": 2}


def test_every_file_has_usable_entries_with_reason_and_reference() -> None:
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


# About a second each: the quick tier has those of the default grid.
LEARNING = [
    pytest.param(name, marks=[] if entry.default else pytest.mark.slow)
    for name, entry in optimizers.catalog.entries.items()
]


@pytest.mark.parametrize("name", LEARNING)
def test_memorises_a_batch_under_its_schedule(name: str) -> None:
    net, steps = make_net(width=0.25), 60
    recipe, optimizer = optimizers.catalog.get(name).default_recipe(64), built(name, net, 64)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = LRSchedule(optimizer, factors(optimizer, recipe, steps), steps)
    x_BCHW, labels_B = made_batch(2)

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
def test_equal_gradients_give_equal_weights(name: str) -> None:
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
def test_parameters_without_gradients_do_not_change(name: str) -> None:
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
    assert found[-1] == 1.0 if entry.schedule_free else 0 <= found[-1] <= 0.01


SCHEDULE_FREE = ["schedule_free_adamw", "schedule_free_sgd"]


def made_batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    images_BCHW = torch.randn(8, 3, 32, 32, generator=draws)
    return images_BCHW, torch.randint(0, 10, (8,), generator=draws)


def test_sam_descends_by_the_gradient_up_the_slope() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -4.0]))
    net = nn.Module()
    net.weight = weight
    optimizer = Sam(torch.optim.SGD([weight], lr=0.1), net, rho=0.5)

    def backward() -> Tensor:
        loss = (weight**4).sum()
        loss.backward()
        return loss

    backward()
    slope = 4 * weight.detach() ** 3
    above = weight.detach() + 0.5 * slope / slope.norm()
    expected = weight.detach() - 0.1 * 4 * above**3
    optimizer.step(backward)
    torch.testing.assert_close(weight.detach(), expected)


def test_sam_without_a_way_up_is_sgd_and_counts_statistics_once() -> None:
    nets = [make_net("resnet18"), make_net("resnet18")]
    for name, net in zip(("sgd", "sam"), nets, strict=True):
        step = made_step(net, name, steps=20)
        if isinstance(step.optimizer, Sam):
            step.optimizer._rho = 0.0
        step(*made_batch())
    for (key, one), other in zip(
        nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True
    ):
        if one.is_floating_point():
            torch.testing.assert_close(other, one, msg=key)


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_evaluates_other_weights_with_statistics_of_theirs(name: str) -> None:
    net = make_net("cnn2")
    step = made_step(net, name, steps=20, recent=4)
    step.begin_training()
    for seed in range(6):
        step(*made_batch(seed))
    trained = {key: value.clone() for key, value in net.state_dict().items()}
    step.begin_evaluation()
    settled = {key: value.clone() for key, value in net.state_dict().items()}
    (norm, *_) = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert not torch.equal(trained["0.weight"], settled["0.weight"])
    with torch.no_grad():
        seen = first(torch.cat([made_batch(seed)[0] for seed in range(2, 6)]))
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
    step.begin_training()
    for key, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), trained[key], atol=1e-5, rtol=1e-4)


def test_settling_a_compiled_net_compiles_nothing() -> None:
    net = make_net("cnn2")
    step = made_step(net, "schedule_free_sgd", steps=20)
    step = replace(step, model=torch.compile(net, dynamic=False, backend="aot_eager"))
    step(*made_batch())
    watch = CompileWatch()
    step.begin_evaluation()
    step.begin_training()
    step(*made_batch())
    assert watch.new_graphs() == 0


def test_schedule_free_leaves_the_warm_up_to_the_recipe() -> None:
    for name in SCHEDULE_FREE:
        optimizer = built(name, make_net("cnn2"))
        recipe = optimizers.catalog.get(name).recipe
        assert (recipe.schedule, recipe.warmup > 0) == ("constant", True)
        assert all(group["warmup_steps"] == 0 for group in optimizer.param_groups)


def test_muon_sgd_takes_from_weights_what_its_decay_says_whatever_the_rate() -> None:
    net = make_net("airnet94")
    for of_bias in (0.0, 1.0):
        entry = optimizers.catalog.get("muon_sgd")
        options = {"rest_lr": 106.0, "head_lr": 1340.0, "bias_decay": of_bias}
        recipe = Recipe(
            lr=0.24, weight_decay=0.004, options=tuple({**entry.options, **options}.items())
        )
        _, sgd = entry.build(net, recipe).parts
        head = {id(p) for p in parameters.split_parameters(net).head}
        for group in sgd.param_groups:
            of_head = {id(p) for p in group["params"]} == head
            assert group["lr"] == (1340.0 if of_head else 106.0)
            taken = group["lr"] * group["weight_decay"]
            assert taken == pytest.approx(0.004 if of_head else 0.004 * of_bias)


def test_sgd_has_a_rate_of_its_own_for_biases() -> None:
    found = built("sgd", make_net(), options=(("momentum", 0.9), ("bias_lr_factor", 64.0)), lr=0.5)
    rates = {group["weight_decay"] > 0: group["lr"] for group in found.param_groups}
    assert rates == {True: 0.5, False: 32.0}


BUILD_LION = """
import torch._dynamo, architectures
from bench import optimizers
before = torch._dynamo.config.recompile_limit
lion = optimizers.catalog.get("lion")
lion.build(architectures.build("cnn2", width=0.125), lion.default_recipe(8))
"""


@pytest.mark.slow
def test_timms_import_leaves_the_limit_on_recompilations() -> None:
    # In a process of its own: other tests import timm's optimizers directly.
    code = f"{BUILD_LION}assert torch._dynamo.config.recompile_limit == before < 1000"
    assert checkout.python(code).returncode == 0


def test_a_net_without_hidden_matrices_is_taken_by_all() -> None:
    for name in optimizers.catalog.entries:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 10))
        loss = F.cross_entropy(net(made_batch()[0]), made_batch()[1])
        loss.backward()
        optimizer = built(name, net)
        assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == 4
