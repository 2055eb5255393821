"""LAMB: Adam with layer-wise step sizes."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups, timm_optimizer
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's LAMB, over all weights at once; the gradient's norm is clipped at `clip`."""
    return timm_optimizer("Lamb")(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        max_grad_norm=recipe.option("clip"),
        foreach=True,
    )


LAMB = Optimizer(
    name="lamb",
    why="Adam with steps in proportion to each layer's weights, for very large batches.",
    reference="https://arxiv.org/abs/1904.00962",
    build=build,
    recipe=Recipe(lr=1e-2, weight_decay=0.02, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "clip": 1.0},
)
