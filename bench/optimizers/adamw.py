"""AdamW with warm-up and a cosine schedule."""

import math
from functools import partial

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._parameters import decay_groups
from bench.optimizers._schedules import cosine_decay


def build(
    net: nn.Module,
    batch_size: int,
    *,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.05,
) -> torch.optim.Optimizer:
    """AdamW whose peak learning rate is `lr` at 128 images a step and grows with the root.

    Source of the square-root scaling: https://arxiv.org/abs/2205.10287
    """
    return torch.optim.AdamW(
        decay_groups(net, weight_decay),
        lr=lr * math.sqrt(batch_size / 128),
        betas=betas,
        fused=True,
    )


ADAMW = Optimizer(
    name="adamw",
    why="Adam with decoupled weight decay: hardly needs tuning, and the rule for transformers.",
    reference="https://arxiv.org/abs/1711.05101",
    build=build,
    schedule=partial(cosine_decay, warmup=0.1),
    label_smoothing=0.1,
    default=True,
)
