"""Reasons to doubt a run's times, with advice."""

import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

from bench.record import Conditions, Point, Throughput
from bench.text import count

NOISE_PCT = 15.0  # two measurements of one speed may differ by this much
DRIFT_PCT = 5.0
DRIFT_P_VALUE = 0.01
SLOW_FIRST_RATIO = 1.2
SLOW_FIRST_SPREADS = 5.0
STALLED_RATIO = 2.0
STALLED_S = 1.0
PAUSED_SHARE = 0.01  # of the training clock
OTHERS_PCT = 10.0
IDLE_PCT = 10.0
STOLEN_PCT = 5.0
WAITED_PCT = 5.0


def timing_problems(
    *,
    recompiled: int,
    curve: Sequence[Point] = (),
    steady: bool = True,
    throughput: Throughput | None = None,
    conditions: Conditions,
) -> list[str]:
    """All reasons to doubt the times of a run, or of a repeat of `bench loaders`.

    Args:
        recompiled: Number of graphs that torch.compile built on the training clock.
        steady: Whether every epoch does the same work, i.e. no parameters are frozen.
    """
    problems = []
    if recompiled:
        problems.append(f"{count(recompiled, 'graph')} compiled inside the clock")
    if throughput is not None:
        problems += above_ceiling(throughput)
    if steady:
        epochs = [point.step_ms for point in curve]
        problems += slow_first(epochs)
        problems += drift(epochs)
        problems += stalled(curve)
    problems += pauses(conditions, curve[-1].train_s if curve else 0.0)
    problems += disturbances(conditions)
    return problems


def above_ceiling(throughput: Throughput) -> list[str]:
    """Training faster than the same steps without data, beyond noise."""
    stall_pct = throughput.stall_pct
    if stall_pct is None or stall_pct > -NOISE_PCT:
        return []
    return [f"trained {-stall_pct:.0f} % faster than its ceiling: the machine was busy"]


def slow_first(epochs: Sequence[float]) -> list[str]:
    """A first epoch that is much slower than the others and outside their spread."""
    first, *others = epochs or [0.0]
    if len(others) < 3:
        return []
    usual = statistics.median(others)
    spread = statistics.median(abs(epoch - usual) for epoch in others)
    slow = first > SLOW_FIRST_RATIO * usual and first - usual > SLOW_FIRST_SPREADS * spread
    if usual <= 0 or not slow:
        return []
    return [
        f"the first epoch took {first / usual:.1f} times as long as the others: something was "
        "still warming up"
    ]


def drift(epochs: Sequence[float]) -> list[str]:
    """A trend from the second epoch on: tested by Kendall's tau, its size from Theil and Sen."""
    times = epochs[1:]
    if len(times) < 5:
        return []
    from scipy.stats import kendalltau, theilslopes  # late: workers start sooner without it

    if not kendalltau(range(len(times)), times).pvalue < DRIFT_P_VALUE:
        return []
    slope, start, *_ = theilslopes(times, method="joint")
    end = start + slope * (len(times) - 1)
    if min(start, end) <= 0:
        return []
    change_pct = 100.0 * (end / start - 1.0)
    if abs(change_pct) <= DRIFT_PCT:
        return []
    became = "longer" if change_pct > 0 else "shorter"
    return [
        f"epochs became {abs(change_pct):.0f} % {became} from the second to the last: the machine "
        "heated up, or other work started or ended"
    ]


def stalled(curve: Sequence[Point]) -> list[str]:
    """The slowest epoch, apart from the first, if it took far longer than the median."""
    epochs_s = [point.train_s - before.train_s for before, point in pairwise(curve)]
    if len(epochs_s) < 3:
        return []
    usual_s, longest_s = statistics.median(epochs_s), max(epochs_s)
    if longest_s < STALLED_RATIO * usual_s or longest_s - usual_s < STALLED_S:
        return []
    number = curve[1 + epochs_s.index(longest_s)].epoch
    return [f"epoch {number} took {longest_s:.1f} s, the median epoch {usual_s:.1f} s"]


def pauses(conditions: Conditions, train_s: float) -> list[str]:
    """Time in which the process was stopped, or the machine suspended."""
    paused_s = conditions.paused_s or 0.0
    if paused_s <= PAUSED_SHARE * train_s:
        return []
    return [f"the process did not run for {paused_s:.0f} s of the training clock"]


def disturbances(conditions: Conditions) -> Iterator[str]:
    """Throttling and other work on the same machine."""
    throttled = [
        *([f"for {conditions.hot_s:.1f} s"] if conditions.hot_s else []),
        *conditions.slowed,
    ]
    if throttled:
        yield f"the GPU was throttled ({', '.join(throttled)}): cool it, or wait"
    if conditions.gpu_others:
        yield f"other processes were on the GPU ({conditions.gpu_others}): stop them, or wait"
    if conditions.neighbours:
        yield (
            f"other runs were active on this host ({conditions.neighbours}): wait, or use "
            "`bench run --exclusive-timing`"
        )
    others_pct, waited_pct = conditions.cpu_others_pct or 0.0, conditions.cpu_waited_pct
    if others_pct > OTHERS_PCT and waited_pct is not None:
        if waited_pct > WAITED_PCT:
            yield (
                f"other processes used {others_pct:.0f} % of the CPU, and this one waited for a "
                f"core in {waited_pct:.0f} % of its time"
            )
    elif others_pct > OTHERS_PCT and (conditions.cpu_idle_pct or 0.0) < IDLE_PCT:
        yield f"other processes used {others_pct:.0f} % of the CPU, which had no core to spare"
    if (conditions.cpu_stolen_pct or 0.0) > STOLEN_PCT:
        yield f"the virtual machine's host gave {conditions.cpu_stolen_pct:.0f} % of the CPU away"
