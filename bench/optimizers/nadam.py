"""NAdam: Adam with Nesterov momentum."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's NAdam, over all weights at once, with decoupled weight decay."""
    from torch.optim import NAdam

    return NAdam(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        momentum_decay=recipe.option("momentum_decay"),
        decoupled_weight_decay=True,
        foreach=True,
    )


NADAM = Optimizer(
    name="nadam",
    why="AdamW with Nesterov momentum: looks one step ahead without extra state per weight.",
    reference="https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ (Dozat 2016)",
    build=build,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "momentum_decay": 4e-3},
)
