"""A recipe: an optimizer's settings for a net, with learning-rate schedule and weight average.

`bench.grid.recipe_files` reads recipe files; nets without a recipe use the optimizer's defaults.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, get_args

from pipelines.catalog import unknown_name

DECAY = 0.2  # final share of a run in which `wsd` decays
DEFAULT_ORIGIN = "default of the optimizer, not tuned for the net"
Average = Literal["none", "ema", "lookahead"]
Weights = Literal["fp32", "bf16"]
COUNTS = ("fit_images", "renormalise_every")  # fields that are whole numbers from 1
SHARES = {  # maximum of each field that is a share
    "warmup": 0.999,
    "start_factor": 1.0,
    "end_factor": 1.0,
    "label_smoothing": 0.999,
    "average_decay": 0.999,
}


def _one_cycle(progress: float, warmup: float) -> float:
    """A straight line, as in cifar10-airbench; https://arxiv.org/abs/1708.07120."""
    return progress


def _cosine(progress: float, warmup: float) -> float:
    """Half a cosine, the usual choice for Adam; https://arxiv.org/abs/1608.03983, no restarts."""
    return (1.0 - math.cos(math.pi * progress)) / 2.0


def _wsd(progress: float, warmup: float) -> float:
    """Constant, then a line over the last fifth of the run; https://arxiv.org/abs/2404.06395."""
    share = DECAY / (1.0 - warmup) if warmup < 1.0 - DECAY else 1.0
    return max(0.0, (progress - (1.0 - share)) / share)


def _constant(progress: float, warmup: float) -> float:
    """No decay, for schedule-free optimizers; https://arxiv.org/abs/2405.15682."""
    return 0.0


# Decay of the rate, from 0 at its peak to 1 at its final value, as a function of the progress after
# the warm-up and of the warm-up's share of the run.
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "one_cycle": _one_cycle,
    "cosine": _cosine,
    "wsd": _wsd,
    "constant": _constant,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a net is trained by an optimizer.

    Add new fields at the end, with a default: at the default they are not part of a run's id.

    Args:
        schedule: A key of `SCHEDULES`.
        warmup: Share of the run over which the rate rises, in [0, 1).
        start_factor: Factor on the peak rate at the first step of the warm-up.
        end_factor: Factor on the peak rate after the last step.
        average: Weight averaging: "none", "ema" evaluates the average, "lookahead" resets the
            weights to it every few steps.
        average_decay: Decay of the average per step, in [0, 1).
        options: The optimizer's own settings, sorted by name.
        origin: Description of where the values come from; not part of a run's id.
        weights: Data type of the weights; with "bf16", norms stay in float32.
        fit_images: Training images that a part of the net is fitted to, if it is not trained.
        renormalise_every: Steps from one normalisation of a matrix to the next, for optimizers that
            keep the norm of matrices (muon_sgd).

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
    weights: Weights = "fp32"
    fit_images: int = 5000
    renormalise_every: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is above 0, got {self.lr:g}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is at least 0, got {self.weight_decay:g}")
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown_name("schedule", self.schedule, SCHEDULES))
        for name, kind in (("average", Average), ("weights", Weights)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(unknown_name(name, getattr(self, name), list(get_args(kind))))
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        for name, largest in SHARES.items():
            value = getattr(self, name)
            if not 0 <= value <= largest:
                raise ValueError(f"{name} lies in [0, {largest:g}], got {value:g}")
        for name in ("lr", "weight_decay", *SHARES):  # 1 and 1.0 are equal: one id for both
            object.__setattr__(self, name, float(getattr(self, name)))
        options = tuple(sorted((name, float(value)) for name, value in self.options))
        object.__setattr__(self, "options", options)

    @property
    def settings(self) -> dict[str, str | int | float]:
        """All settings by name, with the optimizer's own."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        del own["origin"]
        return own | dict(own.pop("options"))

    def option(self, name: str) -> float:
        """One of the optimizer's own settings.

        Raises:
            KeyError: The recipe has no such setting.
        """
        return dict(self.options)[name]

    def factor(self, progress: float) -> float:
        """The factor on the peak rate at `progress`, the share of the run that is done."""
        if progress < self.warmup:
            return self.start_factor + (1.0 - self.start_factor) * progress / self.warmup
        done = (progress - self.warmup) / (1.0 - self.warmup)
        return 1.0 + (self.end_factor - 1.0) * SCHEDULES[self.schedule](done, self.warmup)
