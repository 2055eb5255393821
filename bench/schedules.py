"""Learning-rate schedules: share of the run done, in [0, 1], to a factor on the peak rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

DECAY = 0.2  # share of a run over which `wsd` decays


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
