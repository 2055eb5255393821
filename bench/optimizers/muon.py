"""Muon from timm: orthogonalised momentum for the matrices, AdamW for the rest."""

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers import _parameters as parameters
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """A convolution counts as a matrix of (out, in * kernel * kernel).

    Updates are scaled to the size AdamW's have, so one learning rate serves both; source:
    https://arxiv.org/abs/2502.16982
    """
    from timm.optim import Muon  # slow to import, so only when it is used

    groups = parameters.sort(net)
    optimizer: torch.optim.Optimizer = Muon(
        [
            {"params": groups.matrices, "weight_decay": recipe.weight_decay},
            {"params": groups.weights, "weight_decay": recipe.weight_decay, "use_fallback": True},
            {"params": groups.rest, "weight_decay": 0.0, "use_fallback": True},
        ],
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
        conv_mode="flatten",
    )
    return optimizer


MUON = Optimizer(
    name="muon",
    why="Orthogonalised updates: more progress a step than AdamW for some extra arithmetic.",
    reference="https://kellerjordan.github.io/posts/muon/, scaled as in https://arxiv.org/abs/2502.16982",
    build=build,
    recipe=Recipe(
        lr=2e-3, weight_decay=0.05, schedule="one_cycle", warmup=0.1, label_smoothing=0.1
    ),
    options={"momentum": 0.95},
    default=True,
)
