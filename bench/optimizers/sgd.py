"""SGD with Nesterov momentum and a linear schedule."""

from functools import partial

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._parameters import decay_groups
from bench.optimizers._schedules import linear_decay


def build(
    net: nn.Module,
    batch_size: int,
    *,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> torch.optim.Optimizer:
    """SGD whose peak learning rate is `lr` at 128 images a step and grows with the batch.

    Source of the linear scaling: https://arxiv.org/abs/1706.02677
    """
    return torch.optim.SGD(
        decay_groups(net, weight_decay),
        lr=lr * batch_size / 128,
        momentum=momentum,
        nesterov=True,
        fused=True,
    )


SGD = Optimizer(
    name="sgd",
    why="Nesterov momentum: the yardstick for convolutional nets, and the cheapest step.",
    reference="https://proceedings.mlr.press/v28/sutskever13.html; schedule of cifar10-airbench",
    build=build,
    schedule=partial(linear_decay, warmup=0.2),
    label_smoothing=0.1,
    default=True,
)
