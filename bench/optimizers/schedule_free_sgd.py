"""Schedule-free SGD."""

from typing import Any

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._param_groups import decay_groups
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """schedulefree's, over all weights at once; the recipe's schedule does the warm-up."""
    from schedulefree import SGDScheduleFree

    optimizer: Any = SGDScheduleFree(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        foreach=True,
    )
    optimizer.train()
    found: torch.optim.Optimizer = optimizer
    return found


SCHEDULE_FREE_SGD = Optimizer(
    name="schedule_free_sgd",
    why="SGD that evaluates an average of its weights instead of lowering the rate.",
    reference="https://arxiv.org/abs/2405.15682",
    build=build,
    # Its momentum does not add gradients up, so the rate is ten times that of plain momentum.
    recipe=Recipe(lr=1.0, weight_decay=5e-4, schedule="constant", warmup=0.05, label_smoothing=0.1),
    options={"momentum": 0.9},
    grows="in proportion",
    settles=True,
)
