"""Muon for the hidden matrices, SGD for the rest: the 94 % speed record's optimizer."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import groups, split_parameters
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """Matrices keep the norm sqrt(out), so they need no decay; the head has its own rate.

    `weight_decay` is the share by which a step at the peak rate shrinks the other weights; with the
    option `bias_decay` 1, as in the record, biases and norms shrink too.
    """
    from torch.optim import SGD

    from bench.optimizers._chained import ChainedOptimizer
    from bench.optimizers._muon import Muon

    parameters = split_parameters(net)
    head = {id(parameter) for parameter in parameters.head}
    others = [parameter for parameter in parameters.weights if id(parameter) not in head]
    rest_lr, head_lr = recipe.option("rest_lr"), recipe.option("head_lr")
    rest_decay = recipe.weight_decay * recipe.option("bias_decay")
    sgd = SGD(
        [
            *groups(others, lr=rest_lr, weight_decay=recipe.weight_decay / rest_lr),
            *groups(parameters.rest, lr=rest_lr, weight_decay=rest_decay / rest_lr),
            *groups(parameters.head, lr=head_lr, weight_decay=recipe.weight_decay / head_lr),
        ],
        lr=rest_lr,
        momentum=recipe.option("rest_momentum"),
        nesterov=recipe.option("rest_momentum") > 0,
        fused=True,
    )
    if not parameters.matrices:
        return sgd
    muon = Muon(
        groups(parameters.matrices),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        steps=int(recipe.option("steps")),
        rms=None,
        renormalise_every=recipe.renormalise_every,
    )
    return ChainedOptimizer(muon, sgd)


MUON_SGD = Optimizer(
    name="muon_sgd",
    why="The 94 % record's optimizer: Muon on hidden convolutions, SGD for the rest.",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench94_muon)",
    build=build,
    # The record's rate is 0.24 for batches of 2,000; airnet94's recipe has its values.
    recipe=Recipe(lr=0.06, weight_decay=5e-5, schedule="one_cycle", label_smoothing=0.1),
    options={
        "momentum": 0.6,
        "steps": 3.0,
        "rest_lr": 0.1,
        "head_lr": 0.1,
        "rest_momentum": 0.9,
        "bias_decay": 0.0,
    },
    capturable=True,
)
