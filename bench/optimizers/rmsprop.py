"""RMSprop: steps divided by a running mean of squared gradients."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's RMSprop, over all weights at once; weight decay is added to the gradient."""
    from torch.optim import RMSprop

    return RMSprop(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        alpha=recipe.option("alpha"),
        momentum=recipe.option("momentum"),
        eps=recipe.option("eps"),
        foreach=True,
    )


RMSPROP = Optimizer(
    name="rmsprop",
    why="Adam's predecessor, used to train MobileNets and EfficientNets.",
    reference="https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
    build=build,
    recipe=Recipe(lr=1e-3, weight_decay=1e-5, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"alpha": 0.99, "momentum": 0.0, "eps": 1e-8},
)
