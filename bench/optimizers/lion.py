"""Lion: sign of the momentum."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups, timm_optimizer
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's Lion, over all weights at once."""
    return timm_optimizer("Lion")(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        foreach=True,
    )


LION = Optimizer(
    name="lion",
    why="The sign of a momentum: every weight moves by the same amount; one state per weight.",
    reference="https://arxiv.org/abs/2302.06675",
    build=build,
    # A quarter of the rate of AdamW and four times its decay, in the range the paper advises.
    recipe=Recipe(lr=5e-4, weight_decay=0.2, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99},
)
