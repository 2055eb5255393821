"""SGD with Nesterov momentum."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's fused SGD."""
    from torch.optim import SGD

    momentum = recipe.option("momentum")
    return SGD(
        decay_groups(net, recipe.weight_decay, lr=recipe.lr * recipe.option("bias_lr_factor")),
        lr=recipe.lr,
        momentum=momentum,
        nesterov=momentum > 0,
        fused=True,
    )


SGD = Optimizer(
    name="sgd",
    why="Nesterov momentum: the standard for convolutional nets, with the cheapest step.",
    reference="https://proceedings.mlr.press/v28/sutskever13.html",
    build=build,
    recipe=Recipe(lr=0.1, weight_decay=5e-4, schedule="one_cycle", warmup=0.2, label_smoothing=0.1),
    options={"momentum": 0.9, "bias_lr_factor": 1.0},
    lr_scaling="linear",
    capturable=True,
    default=True,
)
