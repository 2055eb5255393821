"""Schedule-free AdamW and SGD."""

from typing import TYPE_CHECKING, Any

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build_adamw(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """schedulefree's AdamW, over all weights at once; the recipe's schedule does the warm-up."""
    from schedulefree import AdamWScheduleFree

    betas = recipe.option("beta1"), recipe.option("beta2")
    return _training(AdamWScheduleFree, net, recipe, betas=betas, eps=recipe.option("eps"))


def build_sgd(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """schedulefree's SGD, over all weights at once; the recipe's schedule does the warm-up."""
    from schedulefree import SGDScheduleFree

    return _training(SGDScheduleFree, net, recipe, momentum=recipe.option("momentum"))


def _training(kind: Any, net: "nn.Module", recipe: Recipe, **more: Any) -> "TorchOptimizer":
    groups = decay_groups(net, recipe.weight_decay)
    optimizer: TorchOptimizer = kind(groups, lr=recipe.lr, foreach=True, **more)
    optimizer.train()  # type: ignore[attr-defined]
    return optimizer


SCHEDULE_FREE_ADAMW = Optimizer(
    name="schedule_free_adamw",
    why="AdamW that evaluates an average of its weights instead of lowering the rate.",
    reference="https://arxiv.org/abs/2405.15682",
    build=build_adamw,
    recipe=Recipe(
        lr=5e-3, weight_decay=0.05, schedule="constant", warmup=0.05, label_smoothing=0.1
    ),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    schedule_free=True,
)
SCHEDULE_FREE_SGD = Optimizer(
    name="schedule_free_sgd",
    why="SGD that evaluates an average of its weights instead of lowering the rate.",
    reference="https://arxiv.org/abs/2405.15682",
    build=build_sgd,
    # Its momentum averages gradients instead of summing them, hence ten times SGD's rate.
    recipe=Recipe(lr=1.0, weight_decay=5e-4, schedule="constant", warmup=0.05, label_smoothing=0.1),
    options={"momentum": 0.9},
    lr_scaling="linear",
    schedule_free=True,
)
