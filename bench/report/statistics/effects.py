"""The effect of each level of a factor against a reference, over cells that differ in nothing else.

Cells of one net are correlated, so differences are first averaged per net, or per optimizer when
nets are compared. Student's t test is over five or more nets (optimizers), else over five or more
seeds that all cells have, averaged over the cells; with fewer there is no claim. Seeds are paired,
as a seed determines weights, order and draws, except for images/s, which use Welch's test. Rank
tests are used if a target was missed; a miss ranks after every time. Holm's correction covers all
effects of a page.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.columns import ACCURACY, Metric
from bench.report.rows import Outcome, value_of
from bench.report.statistics.intervals import (
    ALPHA,
    DIGITS,
    SEEDS_NEEDED,
    Contrast,
    Interval,
    Test,
    holm,
    mann_whitney,
    signed_rank,
    student,
    student_test,
    welch,
    welch_test,
)
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    FACTORS,
    PAIRED,
    Pair,
    difference,
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
    "over",  # what the test is over: "6 nets", "5 optimizers", "5 seeds"
    "estimate", "low", "high",  # points or a ratio, with the 95 % interval of this effect alone
    "p", "p_adjusted",
    "verdict",  # "higher", "lower", "cannot tell" or "too few seeds"
    "runs", "reached", "reference_runs", "reference_reached",  # `reached` is for times to accuracy
)  # fmt: skip
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
    matched = {metric: match(good, factor, metric=metric) for metric in EFFECT_METRICS}
    any_target = matched[ACCURACY]
    for level in any_target.pairs if any_target else ():
        assert any_target is not None
        names = {"factor": factor, "level": level, "reference": any_target.reference}
        pairs = {metric: each.pairs[level] for metric, each in matched.items() if each}
        rows = [row for metric in pairs if (row := effect(pairs[metric], factor, metric))]
        none = {"metric": ACCURACY.name, "cells": 0, "nets": 0, "verdict": TOO_FEW, "p": None}
        yield from (names | row for row in rows or [none])


def effect(pairs: Sequence[Pair], factor: str, metric: Metric) -> dict[str, Any] | None:
    """A row of `effects` without its names; None if no pair has values on both sides."""
    sides = [(_values(pair.level, metric), _values(pair.reference, metric)) for pair in pairs]
    cells = [(pair, *side) for pair, side in zip(pairs, sides, strict=True) if all(side)]
    if not cells:
        return None
    axis, noun = ("optimizer",) * 2 if factor == "architecture" else ("architecture", "net")
    clusters: dict[str, list[float]] = defaultdict(list)
    for pair, level, reference in cells:
        contrast = Contrast(level=tuple(level.values()), reference=tuple(reference.values()))
        clusters[getattr(pair.level[0].cell, axis)].append(difference(contrast, metric))
    units, over = list(clusters.values()), count(len(clusters), noun)
    test: Test | None = None
    interval: Interval | None = None
    repeated = [cell for cell in cells if len({*cell[1]} & {*cell[2]}) >= SEEDS_NEEDED]
    seeds = sorted(
        set.intersection(*({*level} & {*other} for _, level, other in repeated or cells))
    )
    if len(units) >= CLUSTERS_NEEDED:
        test, interval = _over_clusters(units)
    elif len(seeds) >= SEEDS_NEEDED:
        cells, over = repeated, count(len(seeds), "seed")
        by_seed = [[(level[seed], other[seed]) for _, level, other in cells] for seed in seeds]
        test, interval = _over_seeds(by_seed, metric)
        units = [[level - reference for level, reference in values] for values in by_seed]
    return {
        "metric": metric.name,
        "cells": len(cells),
        "nets": len({pair.level[0].cell.architecture for pair, *_ in cells}),
        "over": over,
        "p": test and test.p,
        "side": test and test.side,
        "verdict": TOO_FEW,
        **_estimate(units, interval, metric),
        **_counts([pair.level for pair, *_ in cells], metric, ""),
        **_counts([pair.reference for pair, *_ in cells], metric, "reference_"),
    }


def _values(side: Sequence[Outcome[Any]], metric: Metric) -> dict[int, float]:
    """The mean over the cells of a side by seed, as logarithms for ratios."""
    found: dict[int, list[float]] = defaultdict(list)
    for outcome in side:
        for run in outcome.usable(metric):
            value = value_of(run, metric)
            if value is not None:
                found[run.seed] += to_scale([value], metric)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _over_clusters(units: Sequence[Sequence[float]]) -> tuple[Test, Interval | None]:
    if all(math.isfinite(value) for values in units for value in values):
        means = [statistics.fmean(values) for values in units]
        return student_test(means), student(means)
    both_missed_is_equal = [[0.0 if math.isnan(v) else v for v in values] for values in units]
    return signed_rank([statistics.median(values) for values in both_missed_is_equal]), None


def _over_seeds(
    by_seed: Sequence[Sequence[tuple[float, float]]], metric: Metric
) -> tuple[Test, Interval | None]:
    sides = [[[pair[side] for pair in pairs] for pairs in by_seed] for side in (0, 1)]
    finite = all(math.isfinite(value) for side in sides for values in side for value in values)
    level, reference = (
        tuple(statistics.fmean(v) if finite else statistics.median(v) for v in side)
        for side in sides
    )
    contrast = Contrast(level=level, reference=reference)
    if not finite:
        return mann_whitney(contrast), None
    if metric not in PAIRED:
        return welch_test(contrast), welch(contrast)
    differences = [a - b for a, b in zip(level, reference, strict=True)]
    return student_test(differences), student(differences)


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
