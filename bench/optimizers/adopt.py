"""ADOPT: Adam with a reordered second moment."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups, timm_optimizer
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's ADOPT, over all weights at once; its first step only initialises the second moment."""
    return timm_optimizer("Adopt")(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        decoupled=True,
        foreach=True,
    )


ADOPT = Optimizer(
    name="adopt",
    why="Adam that divides by the past second moment, and so converges for any beta2.",
    reference="https://arxiv.org/abs/2411.02853",
    build=build,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.9999, "eps": 1e-6},
)
