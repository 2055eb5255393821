"""The effect of each level of a factor against a reference, over cells that differ in nothing else.

Cells of one net are correlated, so differences are first averaged per net. Student's t test is over
five or more nets, else (always if nets are compared) over five or more seeds that all cells have,
averaged over the cells; with fewer there is no claim. Seeds are paired, as a seed determines
weights, order and draws, except for images/s, which use Welch's test. Rank tests are used if a
target was missed; a miss ranks after every time. Holm's correction covers all effects of a page.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.record import Record
from bench.report.columns import ACCURACY, Metric
from bench.report.rows import Outcome, value_of
from bench.report.statistics.intervals import (
    ALPHA,
    DIGITS,
    SEEDS_NEEDED,
    Interval,
    Test,
    holm,
    mann_whitney,
    signed_rank,
    student,
    welch,
)
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    FACTORS,
    PAIRED,
    Pair,
    difference,
    is_finite,
    match,
    outcomes_by_group,
    to_scale,
)
from bench.text import count

if TYPE_CHECKING:
    import pandas as pd

CLUSTERS_NEEDED = 5
COLUMNS = (
    "machine", "scale", "source", "factor", "level", "reference", "metric",
    "cells",  # matched cells with values on both sides
    "nets",  # number of nets among them
    "over",  # what the test is over: "6 nets", "5 seeds"
    "estimate", "low", "high",  # points or a ratio, with the 95 % interval of this effect alone
    "p", "p_adjusted",
    "verdict",  # "higher", "lower", "cannot tell" or "too few seeds"
    "runs", "reached", "reference_runs", "reference_reached",  # `reached` is for times to accuracy
)  # fmt: skip
Method = Literal["Mann-Whitney", "Welch", "paired by seed"]
TOO_FEW, UNCERTAIN = "too few seeds", "cannot tell"


def effects(records: Iterable[Record]) -> "pd.DataFrame":
    """All effects of a page, a row for each level and metric, with the columns `COLUMNS`.

    A level without matched cells has one row with 0 cells.
    """
    import pandas as pd

    rows = []
    for (machine, scale, source), outcomes in outcomes_by_group(records).items():
        good = [outcome for outcome in outcomes if outcome.good]
        group = {"machine": machine, "scale": scale, "source": source}
        rows += [group | row for factor in FACTORS for row in _of_factor(good, factor)]
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = p
        side = row["side"] if p < ALPHA else 0
        row["verdict"] = {1: "higher", -1: "lower", 0: UNCERTAIN}[side]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ("estimate", "low", "high", "p", "p_adjusted")
    counts = ("runs", "reached", "reference_runs", "reference_reached")
    return frame.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(counts, "Int64"))


def _of_factor(good: Sequence[Outcome[Any]], factor: str) -> Iterator[dict[str, Any]]:
    found = {m: matched for m in EFFECT_METRICS if (matched := match(good, factor, metric=m))}
    for level in found[ACCURACY].pairs if found else ():
        names = {"factor": factor, "level": level, "reference": found[ACCURACY].reference}
        rows = [row for m, each in found.items() if (row := effect(each.pairs[level], factor, m))]
        none = {"metric": ACCURACY.name, "cells": 0, "nets": 0, "verdict": TOO_FEW, "p": None}
        yield from (names | row for row in rows or [none])


def effect(
    pairs: Sequence[Pair], factor: str, metric: Metric, *, null: float = 0.0
) -> dict[str, Any] | None:
    """A row of `effects` without names, less `null`; None without values on both sides."""
    sides = [
        (values_by_seed(pair.level, metric, null), values_by_seed(pair.reference, metric))
        for pair in pairs
    ]
    cells = [(pair, *side) for pair, side in zip(pairs, sides, strict=True) if all(side)]
    if not cells:
        return None
    axis, noun = ("optimizer",) * 2 if factor == "architecture" else ("architecture", "net")
    clusters: dict[str, list[float]] = defaultdict(list)
    for pair, level, reference in cells:
        cluster = clusters[getattr(pair.level[0].cell, axis)]
        cluster.append(difference([*level.values()], [*reference.values()], metric))
    units, over = list(clusters.values()), count(len(clusters), noun)
    test: Test | None = None
    repeated = [cell for cell in cells if len({*cell[1]} & {*cell[2]}) >= SEEDS_NEEDED]
    seeds = sorted(
        set.intersection(*({*level} & {*other} for _, level, other in repeated or cells))
    )
    if factor != "architecture" and len(units) >= CLUSTERS_NEEDED:
        test = _over_clusters(units)
    elif len(seeds) >= SEEDS_NEEDED:
        cells, over = repeated, count(len(seeds), "seed")
        by_seed = [[(level[seed], other[seed]) for _, level, other in cells] for seed in seeds]
        test = _over_seeds(by_seed, metric)
        units = [[level - reference for level, reference in values] for values in by_seed]
    return {
        "metric": metric.name,
        "cells": len(cells),
        "nets": len({pair.level[0].cell.architecture for pair, *_ in cells}),
        "over": over,
        "p": test and test.p,
        "side": test and test.side,
        "verdict": TOO_FEW,
        **_estimate(units, test.interval if test else None, metric),
        **_counts([pair.level for pair, *_ in cells], metric, ""),
        **_counts([pair.reference for pair, *_ in cells], metric, "reference_"),
    }


def values_by_seed(
    side: Sequence[Outcome[Any]], metric: Metric, null: float = 0.0
) -> dict[int, float]:
    """The mean over the cells of a side by seed, as logarithms for ratios, less `null`."""
    found: dict[int, list[float]] = defaultdict(list)
    for outcome in side:
        for run in outcome.usable(metric):
            value = value_of(run, metric)
            if value is not None:
                found[run.seed] += to_scale([value], metric)
    return {seed: statistics.fmean(values) - null for seed, values in found.items()}


def _over_clusters(units: Sequence[Sequence[float]]) -> Test:
    if all(math.isfinite(value) for values in units for value in values):
        return student([statistics.fmean(values) for values in units])
    medians = (statistics.median(map(_equal_if_both, values)) for values in units)
    return signed_rank([_equal_if_both(value) for value in medians])


def _equal_if_both(difference: float) -> float:
    """0 instead of NaN: both sides missed the target, or each did where the other one did not."""
    return 0.0 if math.isnan(difference) else difference


def _over_seeds(by_seed: Sequence[Sequence[tuple[float, float]]], metric: Metric) -> Test:
    sides = [[[pair[side] for pair in pairs] for pairs in by_seed] for side in (0, 1)]
    finite = all(math.isfinite(value) for side in sides for values in side for value in values)
    level, reference = (
        tuple(statistics.fmean(v) if finite else statistics.median(v) for v in side)
        for side in sides
    )
    return tested(level, reference, paired=metric in PAIRED)[1]


def tested(
    level: Sequence[float], reference: Sequence[float], *, paired: bool
) -> tuple[Method, Test]:
    """The test over seeds, by ranks if a run missed the target; `paired` by position."""
    if not is_finite(level, reference):
        return "Mann-Whitney", mann_whitney(level, reference)
    if not paired:
        return "Welch", welch(level, reference)
    pairs = zip(level, reference, strict=True)
    return "paired by seed", student([value - other for value, other in pairs])


def _estimate(
    units: Sequence[Sequence[float]], interval: Interval | None, metric: Metric
) -> dict[str, float]:
    """The mean over units that reached the target on both sides, with its interval, if known."""
    finite = [[value for value in values if math.isfinite(value)] for values in units]
    means = [statistics.fmean(values) for values in finite if values]
    if not means:
        return {}
    low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
    shown = Interval(middle=round(statistics.fmean(means), DIGITS), low=low, high=high)
    shown = shown.as_ratio() if metric.ratio else shown
    return {"estimate": shown.middle, "low": shown.low, "high": shown.high}


def _counts(
    sides: Sequence[Sequence[Outcome[Any]]], metric: Metric, prefix: str
) -> dict[str, int | None]:
    values = [value for side in sides for outcome in side for value in outcome.values(metric)]
    reached = sum(map(math.isfinite, values)) if metric.to_target else None
    return {f"{prefix}runs": len(values), f"{prefix}reached": reached}


def as_files(frame: "pd.DataFrame") -> dict[str, bytes]:
    """The effects as CSV and JSON, by file name."""
    from bench.report.render import csv

    text = frame.to_json(orient="records", double_precision=12, indent=1)
    return {"effects.csv": csv(frame).encode(), "effects.json": f"{text}\n".encode()}
