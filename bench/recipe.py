"""A recipe: what an optimizer is set to for a net, and where the values come from.

Recipes that `bench tune` found, or that a paper gives, lie in `bench/recipes/`, a file for each
scale; an optimizer's own defaults stand in where there is none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.schedules import SCHEDULES
from pipelines.catalog import unknown_name

Average = Literal["none", "ema", "lookahead"]
AVERAGES: tuple[Average, ...] = ("none", "ema", "lookahead")
SHARES = {  # and the most of each
    "warmup": 0.999,
    "start_factor": 1.0,
    "end_factor": 1.0,
    "label_smoothing": 0.999,
    "average_decay": 0.999,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a net is trained by an optimizer.

    Args:
        lr: Peak learning rate, for the cell's batch size as it is.
        weight_decay: Of weights; biases, norms, tokens and positions have none.
        schedule: A key of `SCHEDULES`.
        warmup: Share of the run over which the rate rises, in [0, 1).
        start_factor: On the peak rate at the first step of the warm-up.
        end_factor: On the peak rate after the last step.
        label_smoothing: Of the cross-entropy loss, in [0, 1).
        average: What is done with an average of the weights: nothing, "ema" evaluates it,
            "lookahead" sets the weights back to it every few steps.
        average_decay: Of the average, a step, in [0, 1).
        options: The optimizer's own settings, by name, sorted.
        origin: Where the values come from, for people; not part of a run's identity.

    Raises:
        ValueError: A value is out of range.
    """

    lr: float
    weight_decay: float = 0.0
    schedule: str = "one_cycle"
    warmup: float = 0.2
    start_factor: float = 0.1
    end_factor: float = 0.0
    label_smoothing: float = 0.0
    average: Average = "none"
    average_decay: float = 0.95
    options: tuple[tuple[str, float], ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is above 0, got {self.lr:g}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is at least 0, got {self.weight_decay:g}")
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown_name("schedule", self.schedule, SCHEDULES))
        if self.average not in AVERAGES:
            raise ValueError(unknown_name("average", self.average, list(AVERAGES)))
        for name, top in SHARES.items():
            value = getattr(self, name)
            if not 0 <= value <= top:
                raise ValueError(f"{name} lies in [0, {top:g}], got {value:g}")
        for name in ("lr", "weight_decay", *SHARES):  # 1 and 1.0 are equal: one id for both
            value = getattr(self, name)
            if type(value) is not float:
                object.__setattr__(self, name, float(value))
        options = tuple(sorted((name, float(value)) for name, value in self.options))
        object.__setattr__(self, "options", options)

    def option(self, name: str) -> float:
        """One of the optimizer's own settings.

        Raises:
            KeyError: The optimizer has no such setting.
        """
        return dict(self.options)[name]

    def factor(self, progress: float) -> float:
        """The factor on the peak rate when `progress` of the run, in [0, 1], is done."""
        return SCHEDULES[self.schedule].factor(
            progress, warmup=self.warmup, start=self.start_factor, end=self.end_factor
        )


def with_options(
    recipe: Recipe, optimizer: str, known: Mapping[str, float], changes: Mapping[str, float]
) -> tuple[tuple[str, float], ...]:
    """The options of `recipe` with `changes`.

    Args:
        recipe: Its options are those of the optimizer, or some of them.
        optimizer: Its name, for the message.
        known: Its options with their defaults.
        changes: New values by name.

    Raises:
        UsageError: The optimizer has no option of that name.
    """
    for name in changes:
        if name not in known:
            raise UsageError(unknown_name(f"option of the optimizer {optimizer}", name, known))
    return tuple(sorted({**known, **dict(recipe.options), **changes}.items()))


__all__ = ["AVERAGES", "Average", "Recipe", "with_options"]
