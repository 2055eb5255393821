"""Muon for the hidden matrices, AdamW for the rest."""

from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import groups, split_parameters
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """Muon's updates are scaled to the size of AdamW's, so both use one learning rate.

    Source: https://arxiv.org/abs/2502.16982
    """
    from torch.optim import AdamW

    from bench.optimizers._chained import ChainedOptimizer
    from bench.optimizers._muon import Muon

    parameters = split_parameters(net)
    decay = recipe.weight_decay
    adamw = AdamW(
        [
            *groups(parameters.weights, weight_decay=decay),
            *groups(parameters.rest, weight_decay=0.0),
        ],
        lr=recipe.lr,
        betas=(recipe.option("beta1"), recipe.option("beta2")),
        fused=True,
    )
    if not parameters.matrices:
        return adamw
    muon = Muon(
        groups(parameters.matrices, weight_decay=decay),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
    )
    return ChainedOptimizer(muon, adamw)


MUON = Optimizer(
    name="muon",
    why="Orthogonalised updates: more progress per step than AdamW for some extra arithmetic.",
    reference="https://kellerjordan.github.io/posts/muon/, scaled as in https://arxiv.org/abs/2502.16982",
    build=build,
    # Searches for the default grid's nets found rates of 0.8 to 1.4e-2 at this batch size.
    recipe=Recipe(lr=1e-2, weight_decay=0.1, schedule="one_cycle", warmup=0.1, label_smoothing=0.1),
    options={"momentum": 0.95, "beta1": 0.9, "beta2": 0.95},
    capturable=True,
    default=True,
    version=2,
)
