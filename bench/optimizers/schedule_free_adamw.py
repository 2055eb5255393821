"""Schedule-free AdamW."""

from typing import Any

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._param_groups import decay_groups
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """schedulefree's, over all weights at once; the recipe's schedule does the warm-up."""
    from schedulefree import AdamWScheduleFree

    optimizer: Any = AdamWScheduleFree(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        foreach=True,
    )
    optimizer.train()
    found: torch.optim.Optimizer = optimizer
    return found


SCHEDULE_FREE_ADAMW = Optimizer(
    name="schedule_free_adamw",
    why="AdamW that evaluates an average of its weights instead of lowering the rate.",
    reference="https://arxiv.org/abs/2405.15682",
    build=build,
    recipe=Recipe(
        lr=5e-3, weight_decay=0.05, schedule="constant", warmup=0.05, label_smoothing=0.1
    ),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    settles=True,
)
