"""What single optimizers do beside the rest: SAM, schedule-free ones, Muon with SGD, timm's."""

import subprocess
import sys
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import optimizers
from bench.clock import CompileWatch
from bench.loop import Step
from bench.optimizers import _parameters as parameters
from bench.optimizers.sam import Sam
from bench.prepare import factors
from bench.rates import Rates
from bench.recipe import Recipe
from tests.made_optimizers import built, make_net

ROOT = Path(__file__).resolve().parents[1]

SCHEDULE_FREE = ["schedule_free_adamw", "schedule_free_sgd"]


def made_batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    images_BCHW = torch.randn(8, 3, 32, 32, generator=draws)
    return images_BCHW, torch.randint(0, 10, (8,), generator=draws)


def made_step(name: str, net: nn.Module, *, steps: int = 20, **more: Any) -> Step:
    entry = optimizers.catalog.get(name)
    recipe = replace(entry.default_recipe(64), label_smoothing=0.0)
    optimizer = entry.build(net, recipe)
    return Step(
        model=more.get("model", net),
        optimizer=optimizer,
        schedule=Rates(optimizer, factors(optimizer, recipe, steps), steps),
        autocast=nullcontext,
        label_smoothing=0.0,
        passes=entry.passes,
        recent=deque(maxlen=4) if entry.settles else None,
    )


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
        step = made_step(name, net)
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
    step = made_step(name, net)
    step.resume()
    for seed in range(6):
        step(*made_batch(seed))
    trained = {key: value.clone() for key, value in net.state_dict().items()}
    step.settle()
    settled = {key: value.clone() for key, value in net.state_dict().items()}
    (norm, *_) = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert not torch.equal(trained["0.weight"], settled["0.weight"])
    with torch.no_grad():
        seen = first(torch.cat([made_batch(seed)[0] for seed in range(2, 6)]))
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
    step.resume()
    for key, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), trained[key], atol=1e-5, rtol=1e-4)


def test_settling_a_compiled_net_compiles_nothing() -> None:
    net = make_net("cnn2")
    compiled = torch.compile(net, dynamic=False, backend="aot_eager")
    step = made_step("schedule_free_sgd", net, model=compiled)
    step(*made_batch())
    watch = CompileWatch()
    step.settle()
    step.resume()
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
        _, sgd = entry.build(net, recipe).parts  # type: ignore[attr-defined]
        head = {id(p) for p in parameters.sort(net).head}
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


def test_timms_import_leaves_the_limit_on_recompilations() -> None:
    # In a process of its own: other tests import timm's optimizers directly.
    code = f"{BUILD_LION}assert torch._dynamo.config.recompile_limit == before < 1000"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_net_without_hidden_matrices_is_taken_by_all() -> None:
    for name in optimizers.catalog.entries:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 10))
        loss = F.cross_entropy(net(made_batch()[0]), made_batch()[1])
        loss.backward()
        optimizer = built(name, net)
        assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == 4
