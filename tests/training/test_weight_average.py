"""Averages of weights, and batch-norm statistics for other weights."""

import pytest
import torch
from torch import nn

from bench.recipe import Recipe
from bench.training.weight_average import UPDATE_EVERY, WeightAverage, refresh_statistics


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def set_all(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(value)


def weight(module: nn.Module) -> float:
    return float(next(module.parameters()).detach().flatten()[0])


def test_an_ema_is_evaluated_but_not_trained() -> None:
    module = net()
    set_all(module, 0.0)
    average = WeightAverage(module, Recipe(lr=1, average="ema", average_decay=0.9), steps=100)
    expected = 0.0
    for step in range(1, 3 * UPDATE_EVERY + 1):
        set_all(module, float(step))
        average.update()
        if step % UPDATE_EVERY == 0:
            expected = 0.9**UPDATE_EVERY * expected + (1 - 0.9**UPDATE_EVERY) * step
    average.begin_evaluation()
    assert weight(module) == pytest.approx(expected)
    assert float(module[1].running_mean[0]) == pytest.approx(expected)
    average.begin_training()
    assert weight(module) == 3 * UPDATE_EVERY
    average.begin_training()  # twice is safe
    assert weight(module) == 3 * UPDATE_EVERY


def test_lookahead_resets_the_weights_and_ends_at_the_average() -> None:
    module = net()
    set_all(module, 1.0)
    steps = 2 * UPDATE_EVERY
    recipe = Recipe(lr=1, average="lookahead", average_decay=0.95)
    average = WeightAverage(module, recipe, steps=steps)
    set_all(module, 2.0)
    for _ in range(UPDATE_EVERY):
        average.update()
    decay = 0.95**UPDATE_EVERY * 0.5**3
    first = decay * 1.0 + (1 - decay) * 2.0
    assert weight(module) == pytest.approx(first)
    average.begin_evaluation()
    assert weight(module) == pytest.approx(first)
    average.begin_training()
    set_all(module, 4.0)
    for _ in range(UPDATE_EVERY):
        average.update()
    decay = 0.95**UPDATE_EVERY
    average.begin_evaluation()
    assert weight(module) == pytest.approx(decay * first + (1 - decay) * 4.0)


def test_refreshed_statistics_match_the_images_and_momenta_are_kept() -> None:
    module = net()
    module[1].momentum = 0.3
    images = [torch.randn(16, 3, 8, 8) + 5 for _ in range(3)]
    refresh_statistics(module, images)
    seen = torch.cat([module[0](batch) for batch in images])
    torch.testing.assert_close(module[1].running_mean, seen.mean(dim=(0, 2, 3)))
    assert module[1].momentum == 0.3
    refresh_statistics(nn.Linear(2, 2), [])  # no norms: nothing to do
