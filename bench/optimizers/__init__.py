"""Optimizers with their schedules: one file each, found by looking."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.catalog import Catalog

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimizer as an entry: the update rule, its schedule and its settings.

    Args:
        name: What people type.
        why: One sentence on what it is for, shown by `bench list`.
        reference: The paper or code it follows.
        build: Makes the torch optimizer for a model and a batch size, peak learning rates set.
        schedule: Share of the run done, in [0, 1], to a factor on the peak learning rates.
        label_smoothing: Of the cross-entropy loss.
        default: Whether the default grid uses it.
        version: Raised when the update or a setting changes, so that old results are not reused.
    """

    name: str
    why: str
    reference: str
    build: "Callable[[nn.Module, int], TorchOptimizer]"
    schedule: Callable[[float], float]
    label_smoothing: float = 0.0
    default: bool = False
    version: int = 1


catalog = Catalog(package="bench.optimizers", entry_type=Optimizer, noun="optimizer")
