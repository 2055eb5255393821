"""A recipe: what an optimizer is set to for a net, and where the values come from.

Recipes that `bench tune` found, or that a paper gives, lie in `bench/recipes/`, a file for each
scale; an optimizer's own defaults stand in where there is none.

Learning-rate schedules: share of the run done, in [0, 1], to a factor on the peak rate.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from pipelines.catalog import unknown_name

DECAY = 0.2  # share of a run over which `wsd` decays


DEFAULT_ORIGIN = "default of the optimizer, not tuned for the net"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule as an entry.

    Args:
        name: What people type.
        why: One sentence on what it is for, shown by `bench list`.
        reference: The paper or code it follows.
        decay: What becomes of the factor after the warm-up: from the share of the rest that is
            done, and the share of the run that the warm-up takes, to the part of the way from 1
            down to the last factor.
    """

    name: str
    why: str
    reference: str
    decay: Callable[[float, float], float]

    def factor(
        self, progress: float, *, warmup: float, start: float = 0.1, end: float = 0.0
    ) -> float:
        """The factor on the peak rate: a straight line up to 1, then the schedule's own way down.

        Args:
            progress: Share of the run done, in [0, 1].
            warmup: Share of the run that goes up, in [0, 1).
            start: Factor at the first step of a warm-up.
            end: Factor after the last step.
        """
        if progress < warmup:
            return start + (1.0 - start) * progress / warmup
        return 1.0 + (end - 1.0) * self.decay((progress - warmup) / (1.0 - warmup), warmup)


def _stable_then_down(progress: float, warmup: float) -> float:
    share = DECAY / (1.0 - warmup) if warmup < 1.0 - DECAY else 1.0
    return max(0.0, (progress - (1.0 - share)) / share)


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule(
            name="one_cycle",
            why="A straight line up and one down: what the CIFAR speed records use.",
            reference="https://arxiv.org/abs/1708.07120; lines as in cifar10-airbench",
            decay=lambda progress, warmup: progress,
        ),
        Schedule(
            name="cosine",
            why="Half a cosine down: stays longer at high rates, and the usual choice for Adam.",
            reference="https://arxiv.org/abs/1608.03983, without restarts",
            decay=lambda progress, warmup: (1.0 - math.cos(math.pi * progress)) / 2.0,
        ),
        Schedule(
            name="wsd",
            why="Constant, then down over the last fifth: a longer run can go on from the middle.",
            reference="https://arxiv.org/abs/2404.06395",
            decay=_stable_then_down,
        ),
        Schedule(
            name="constant",
            why="No decay: what schedule-free optimizers want, and the baseline for the others.",
            reference="https://arxiv.org/abs/2405.15682",
            decay=lambda progress, warmup: 0.0,
        ),
    )
}

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
