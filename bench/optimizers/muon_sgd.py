"""Muon for all matrices but the head, SGD for the rest: the 94 % speed record's optimizer."""

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers import _parameters as parameters
from bench.optimizers._muon import Muon, Together
from bench.recipe import Recipe


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Matrices keep the norm sqrt(out); biases, norms and the head have rates of their own."""
    sorted_ = parameters.sort(net)
    *first, head = parameters.in_order(net, sorted_.matrices + sorted_.weights)
    matrices = [weight for weight in first if weight.shape[1] > 1]
    others = [weight for weight in first if weight.shape[1] == 1] + sorted_.rest
    rest_lr, head_lr = recipe.option("rest_lr"), recipe.option("head_lr")
    decay = recipe.weight_decay  # of the record: what a step takes at the peak rate
    sgd = torch.optim.SGD(
        [
            *parameters.groups(others, lr=rest_lr, weight_decay=decay / rest_lr),
            *parameters.groups([head], lr=head_lr, weight_decay=decay / head_lr),
        ],
        lr=rest_lr,
        momentum=recipe.option("rest_momentum"),
        nesterov=True,
        fused=True,
    )
    if not matrices:
        return sgd
    muon = Muon(
        parameters.groups(matrices),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        steps=int(recipe.option("steps")),
        rms=None,
        renormalise=True,
    )
    return Together(muon, sgd)


MUON_SGD = Optimizer(
    name="muon_sgd",
    why="The 94 % record's: Muon on every convolution, plain SGD on what is left.",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench94_muon)",
    build=build,
    recipe=Recipe(
        lr=0.24, weight_decay=0.004, schedule="one_cycle", warmup=0.0, label_smoothing=0.2
    ),
    # Rates of SGD are for mean losses: the record's for sums, times its 2,000 images a step.
    options={
        "momentum": 0.6,
        "steps": 3,
        "rest_lr": 106.0,
        "head_lr": 1340.0,
        "rest_momentum": 0.85,
    },
)
