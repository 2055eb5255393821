"""AdamW."""

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._param_groups import decay_groups
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """torch's, fused."""
    return torch.optim.AdamW(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        fused=True,
    )


ADAMW = Optimizer(
    name="adamw",
    why="Adam with decoupled weight decay: hardly needs tuning, and the rule for transformers.",
    reference="https://arxiv.org/abs/1711.05101",
    build=build,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    capturable=True,
    default=True,
)
