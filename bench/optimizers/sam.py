"""SAM around SGD: uses the gradient where the loss near the weights is highest."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer, sgd
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """SAM around `sgd`."""
    from bench.optimizers._chained import Sam

    return Sam(sgd.build(net, recipe), net, recipe.option("rho"))


SAM = Optimizer(
    name="sam",
    why="Sharpness-aware SGD: flatter minima and better accuracy for twice the work per step.",
    reference="https://arxiv.org/abs/2010.01412",
    build=build,
    recipe=Recipe(lr=0.1, weight_decay=5e-4, schedule="one_cycle", warmup=0.2, label_smoothing=0.1),
    options={"momentum": 0.9, "bias_lr_factor": 1.0, "rho": 0.05},
    lr_scaling="linear",
    passes=2,
    capturable=True,
)
