"""Optimizers: one file for each or for a family, found by scanning this folder."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from bench.recipe import Recipe
from pipelines.catalog import Catalog

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer

BATCH_SIZE = 128  # the batch size of default learning rates


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer as an entry of the catalog: the update rule and its settings.

    Args:
        build: Makes the torch optimizer for a net and a recipe, at the peak learning rates.
        recipe: Settings for architectures without their own recipe, at `BATCH_SIZE`.
        options: Its other settings with their defaults, such as "momentum".
        lr_scaling: How the default learning rate grows with the batch size: linearly (SGD,
            arXiv:1706.02677) or with the square root (Adam and relatives, arXiv:2205.10287).
        passes: Forward and backward passes per step; if more than one, `step` takes a function
            that clears the gradients, runs another pass, and returns the loss.
        schedule_free: Whether it evaluates other weights than it trains, and switches between them
            by `eval` and `train`, as schedulefree's optimizers do.
        capturable: Whether a CUDA graph can capture a step: everything that changes between steps,
            including the rate, is in tensors that are zero before the first step.
        version: Raised when the update or a setting changes, so that old results are not reused.
    """

    name: str
    why: str
    reference: str
    build: "Callable[[nn.Module, Recipe], TorchOptimizer]"
    recipe: Recipe
    options: Mapping[str, float] = field(default_factory=dict)
    lr_scaling: Literal["linear", "sqrt"] = "sqrt"
    passes: int = 1
    schedule_free: bool = False
    capturable: bool = False
    default: bool = False
    version: int = 1

    def default_recipe(self, batch_size: int) -> Recipe:
        """The settings for an architecture without its own recipe, including all options."""
        growth = batch_size / BATCH_SIZE
        factor = growth if self.lr_scaling == "linear" else math.sqrt(growth)
        options = tuple({**self.options, **dict(self.recipe.options)}.items())
        return replace(self.recipe, lr=self.recipe.lr * factor, options=options)


catalog = Catalog(package="bench.optimizers", entry_type=Optimizer, noun="optimizer")
