"""What makes a run's times doubtful, in plain words that a reader can act on."""

import math
import statistics
from collections.abc import Iterator, Sequence

from bench.record import Conditions, Point, Throughput

NOISE_PCT = 15.0  # by which two measurements of one speed may differ
DRIFT_PCT = 5.0
DRIFT_Z = 2.58  # a trend as clear as one in 100 runs without one shows
FIRST_TIMES = 1.2  # a first epoch slower than this, and far outside the spread of the others
SPREADS = 5.0
OTHERS_PCT = 10.0
IDLE_PCT = 10.0
STOLEN_PCT = 5.0
WAITED_PCT = 5.0


def timing_problems(
    *,
    recompiled: int,
    curve: Sequence[Point],
    steady: bool,
    throughput: Throughput | None,
    conditions: Conditions,
) -> list[str]:
    """All reasons to doubt the times of a run.

    Args:
        recompiled: Graphs that torch.compile built while the clock ran.
        curve: One point an epoch.
        steady: Whether each epoch does the same work; a net that freezes on the way does not.
        throughput: With the ceiling.
        conditions: Of the machine meanwhile.
    """
    found = []
    if recompiled:
        graphs = "graph" if recompiled == 1 else "graphs"
        found.append(f"{recompiled} {graphs} compiled inside the clock")
    if throughput is not None:
        found += beyond_ceiling(throughput)
    if steady:
        epochs_s = [point.step_ms for point in curve]
        found += slow_first(epochs_s)
        found += drift(epochs_s)
    found += disturbed(conditions)
    return found


def beyond_ceiling(found: Throughput) -> list[str]:
    """Training that was quicker than the same steps without data, beyond noise."""
    if found.stall_pct is None or found.stall_pct > -NOISE_PCT:
        return []
    return [f"trained {-found.stall_pct:.0f} % faster than its ceiling: the machine was busy"]


def slow_first(epochs: Sequence[float]) -> list[str]:
    """A first epoch far slower than the others: something was warming up inside the clock."""
    first, *others = epochs or [0.0]
    if len(others) < 3:
        return []
    usual = statistics.median(others)
    spread = statistics.median(abs(epoch - usual) for epoch in others)
    if usual <= 0 or first <= FIRST_TIMES * usual or first - usual <= SPREADS * spread:
        return []
    return [
        f"the first epoch took {first / usual:.1f} times as long as the others: something was "
        "still warming up"
    ]


def drift(epochs: Sequence[float]) -> list[str]:
    """A trend from the second epoch on: by Theil and Sen how much, by Mann and Kendall if at all.

    Sources: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 1968;
    Mann, "Nonparametric tests against trend", Econometrica 1945.
    """
    rest = epochs[1:]
    count = len(rest)
    if count < 5:
        return []
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    score = sum((rest[j] > rest[i]) - (rest[j] < rest[i]) for i, j in pairs)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if (abs(score) - 1) / deviation < DRIFT_Z:
        return []
    slope = statistics.median((rest[j] - rest[i]) / (j - i) for i, j in pairs)
    start = statistics.median(time - slope * place for place, time in enumerate(rest))
    end = start + slope * (count - 1)
    if min(start, end) <= 0:
        return []
    changed_pct = 100.0 * (end / start - 1.0)
    if abs(changed_pct) <= DRIFT_PCT:
        return []
    became = "longer" if changed_pct > 0 else "shorter"
    return [
        f"epochs became {abs(changed_pct):.0f} % {became} from the second to the last: the machine "
        "grew hot, or other work began or ended"
    ]


def disturbed(conditions: Conditions) -> Iterator[str]:
    """What the machine did that no run asked for."""
    hot = [f"for {conditions.hot_s:.1f} s" if conditions.hot_s else "", *conditions.slowed]
    if any(hot):
        yield f"the GPU was throttled ({', '.join(filter(None, hot))}): cool it, or wait"
    if conditions.gpu_others:
        were = "other process was" if conditions.gpu_others == 1 else "other processes were"
        yield f"{conditions.gpu_others} {were} on the GPU: stop them, or wait"
    if conditions.neighbours:
        ran = "run was" if conditions.neighbours == 1 else "runs were"
        yield (
            f"{conditions.neighbours} other {ran} at work on this host: `bench run "
            "--exclusive-timing` trains it again alone"
        )
    others_pct, waited_pct = conditions.cpu_others_pct or 0.0, conditions.cpu_waited_pct
    if others_pct > OTHERS_PCT and waited_pct is not None:
        if waited_pct > WAITED_PCT:
            yield (
                f"other processes used {others_pct:.0f} % of the CPU, and the run waited for a "
                f"core in {waited_pct:.0f} % of its time"
            )
    elif others_pct > OTHERS_PCT and (conditions.cpu_idle_pct or 0.0) < IDLE_PCT:
        yield f"other processes used {others_pct:.0f} % of the CPU, which had no core to spare"
    if (conditions.cpu_stolen_pct or 0.0) > STOLEN_PCT:
        yield f"other guests of the host took {conditions.cpu_stolen_pct:.0f} % of the CPU"
