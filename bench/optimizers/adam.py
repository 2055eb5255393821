"""Adam as first published, and AdamW."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Adam
    from torch.optim import Optimizer as TorchOptimizer


def build_adam(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's fused Adam; weight decay is added to the gradient."""
    from torch.optim import Adam

    return _build(Adam, net, recipe)


def build_adamw(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's fused AdamW."""
    from torch.optim import AdamW

    return _build(AdamW, net, recipe)


def _build(kind: "type[Adam]", net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    return kind(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        eps=recipe.option("eps"),
        fused=True,
    )


ADAM = Optimizer(
    name="adam",
    why="What most first projects use: Adam without weight decay.",
    reference="https://arxiv.org/abs/1412.6980",
    build=build_adam,
    recipe=Recipe(lr=2e-3, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    capturable=True,
)
ADAMW = Optimizer(
    name="adamw",
    why="Adam with decoupled weight decay: needs little tuning, and is standard for transformers.",
    reference="https://arxiv.org/abs/1711.05101",
    build=build_adamw,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    capturable=True,
    default=True,
)
