"""Learning-rate schedules: share of the run done, in [0, 1], to a factor on the peak rate."""

import math


def linear_decay(progress: float, *, warmup: float, start: float = 0.1, end: float = 0.0) -> float:
    """A straight line up to 1 and a straight line down, as the CIFAR speed records use.

    Args:
        progress: Share of the run done, in [0, 1].
        warmup: Share of the run that goes up, in [0, 1).
        start: Factor at the first step.
        end: Factor after the last step.
    """
    if progress < warmup:
        return start + (1.0 - start) * progress / warmup
    return 1.0 + (end - 1.0) * (progress - warmup) / (1.0 - warmup)


def cosine_decay(progress: float, *, warmup: float, start: float = 0.1, end: float = 0.0) -> float:
    """A straight line up to 1, then half a cosine down; arguments as for `linear_decay`.

    Source: https://arxiv.org/abs/1608.03983, without restarts.
    """
    if progress < warmup:
        return start + (1.0 - start) * progress / warmup
    phase = math.pi * (progress - warmup) / (1.0 - warmup)
    return end + (1.0 - end) * (1.0 + math.cos(phase)) / 2.0
