"""Adam as first published, and AdamW."""

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe


def build_adam(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """torch's fused Adam; weight decay is added to the gradient."""
    return _build(torch.optim.Adam, net, recipe)


def build_adamw(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """torch's fused AdamW."""
    return _build(torch.optim.AdamW, net, recipe)


def _build(kind: type[torch.optim.Adam], net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return kind(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        fused=True,
    )


ADAM = Optimizer(
    name="adam",
    why="What most first projects use: Adam without weight decay.",
    reference="https://arxiv.org/abs/1412.6980",
    build=build_adam,
    recipe=Recipe(lr=2e-3, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    capturable=True,
)
ADAMW = Optimizer(
    name="adamw",
    why="Adam with decoupled weight decay: needs little tuning, and is standard for transformers.",
    reference="https://arxiv.org/abs/1711.05101",
    build=build_adamw,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    capturable=True,
    default=True,
)
