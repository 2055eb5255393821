"""Adam as it was first published."""

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._param_groups import decay_groups
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """torch's, fused; weight decay goes into the gradient."""
    return torch.optim.Adam(
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
    build=build,
    recipe=Recipe(lr=2e-3, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    capturable=True,
)
