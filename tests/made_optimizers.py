"""Nets, gradients, optimizers and steps that the tests of optimizers share."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import architectures
from bench import optimizers
from bench.optimizers import _muon
from bench.training.freezing import Freezing
from bench.training.loop import Step
from bench.training.lr_schedule import LRSchedule
from bench.training.setup import factors
from bench.training.weight_average import WeightAverage

NAMES = list(optimizers.catalog.entries)
# Those that read a value back in a step, as their files say.
WAITING = {"kron"}
# Plain, with shortcuts, with tokens and attention, with what is not trained, depthwise.
NETS = ["cnn2", "resnet18", "vit_tiny", "airnet94", "mobilenetv2"]


def make_net(name: str = "cnn4", *, seed: int = 0, width: float = 0.125) -> nn.Module:
    """A net in the memory format that runs use."""
    torch.manual_seed(seed)
    net = architectures.build(name, width=width)
    return net.to(memory_format=torch.channels_last)


def built(name: str, net: nn.Module, batch_size: int = 128, **changes: Any) -> Any:
    entry = optimizers.catalog.get(name)
    return entry.build(net, replace(entry.default_recipe(batch_size), **changes))


def gradients(net: nn.Module, *, seed: int = 1) -> None:
    """Gives every trained parameter a random gradient, without the cost of a backward pass."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in trained(net):
        parameter.grad = torch.empty_like(parameter).normal_(generator=draws)


def trained(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that optimizers get."""
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def take_step(name: str, optimizer: Any, again: Callable[[], Tensor | None]) -> None:
    """A step with the present gradients; `again` computes those of another pass."""
    if optimizers.catalog.get(name).passes > 1:
        optimizer.step(again)
    else:
        optimizer.step()


def compile_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles without kernels: code is captured, guarded and differentiated as usual."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(_muon, "compiled_update", cache(_muon.compiled_update.__wrapped__))


def made_step(
    net: nn.Module, name: str, *, steps: int, average: str = "none", recent: int = 2
) -> Step:
    """A training step as a run takes it, on the CPU in float32."""
    entry = optimizers.catalog.get(name)
    recipe = replace(entry.default_recipe(8), average=average, label_smoothing=0.1)
    freezing = Freezing(net, steps)
    optimizer = entry.build(net, recipe)
    return Step(
        model=net,
        optimizer=optimizer,
        schedule=LRSchedule(optimizer, factors(optimizer, recipe, steps), steps),
        autocast=partial(torch.autocast, "cpu", enabled=False),
        label_smoothing=recipe.label_smoothing,
        passes=entry.passes,
        freezing=freezing if freezing.changes else None,
        average=None if average == "none" else WeightAverage(net, recipe, steps),
        recent=deque(maxlen=recent) if entry.schedule_free else None,
    )
