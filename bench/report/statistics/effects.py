"""The effect of each level of a factor against a reference, over cells that differ in nothing else.

Cells of one net share its luck, so their differences are averaged for each net first, and those of
two nets for each optimizer. Student's t test is over the nets if there are five or more, else over
five or more seeds that all cells have, each averaged over the cells; seeds are paired, as a seed
fixes weights, order and draws. With fewer there is no claim. A missed target ranks after every
time, and ranks decide then. Holm's correction is for all effects of a page.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.columns import ACCURACY, Metric
from bench.report.render import csv
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
)
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    FACTORS,
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
    "nets",  # that these are of
    "over",  # what the test is over: "6 nets", "5 optimizers", "5 seeds"
    "estimate", "low", "high",  # points or a ratio, with the 95 % interval of this effect alone
    "p", "p_adjusted",
    "verdict",  # "higher", "lower", "cannot tell" or "too few seeds"
    "runs", "reached", "reference_runs", "reference_reached",  # `reached` is for times to accuracy
)  # fmt: skip
TOO_FEW, UNCERTAIN = "too few seeds", "cannot tell"


def effects(records: Iterable[Record]) -> "pd.DataFrame":
    """All effects of a page, a row for each level and metric; `COLUMNS` says what a row holds.

    A level without matched cells has one row of 0 cells.
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


def _of_factor(good: Sequence[Outcome[Record]], factor: str) -> Iterator[dict[str, Any]]:
    matched = match(good, factor)
    for level, pairs in matched.pairs.items() if matched else ():
        assert matched is not None
        names = {"factor": factor, "level": level, "reference": matched.reference}
        found = [row for metric in EFFECT_METRICS if (row := _effect(pairs, factor, metric))]
        none = {"metric": ACCURACY.name, "cells": 0, "nets": 0, "verdict": TOO_FEW, "p": None}
        yield from (names | row for row in found or [none])


Values = dict[int, float]  # by seed, on the scale on which they are compared


def _effect(pairs: Sequence[Pair], factor: str, metric: Metric) -> dict[str, Any] | None:
    sides = [(_values(pair.level, metric), _values(pair.reference, metric)) for pair in pairs]
    cells = [(pair, *side) for pair, side in zip(pairs, sides, strict=True) if all(side)]
    if not cells:
        return None
    axis, noun = ("optimizer",) * 2 if factor == "architecture" else ("architecture", "net")
    clusters: dict[str, list[float]] = defaultdict(list)
    for pair, level, reference in cells:
        contrast = Contrast(level=tuple(level.values()), reference=tuple(reference.values()))
        clusters[getattr(pair.level[0].cell, axis)].append(difference(contrast, metric))
    units, test, over = list(clusters.values()), None, count(len(clusters), noun)
    repeated = [cell for cell in cells if len({*cell[1]} & {*cell[2]}) >= SEEDS_NEEDED]
    seeds = sorted(
        set.intersection(*({*level} & {*other} for _, level, other in repeated or cells))
    )
    if len(units) >= CLUSTERS_NEEDED:
        test = _test_clusters(units)
    elif len(seeds) >= SEEDS_NEEDED:
        cells, over = repeated, count(len(seeds), "seed")
        by_seed = [[(level[seed], other[seed]) for _, level, other in cells] for seed in seeds]
        test = _test_seeds(by_seed)
        units = [[level - reference for level, reference in values] for values in by_seed]
    return {
        "metric": metric.name,
        "cells": len(cells),
        "nets": len({pair.level[0].cell.architecture for pair, *_ in cells}),
        "over": over,
        "p": test and test.p,
        "side": test and test.side,
        "verdict": TOO_FEW,
        **_estimate(units, metric, tested=test is not None),
        **_counts([pair.level for pair, *_ in cells], metric, ""),
        **_counts([pair.reference for pair, *_ in cells], metric, "reference_"),
    }


def _values(side: Sequence[Outcome[Record]], metric: Metric) -> Values:
    """Of each seed, the mean over the cells of a side."""
    found: dict[int, list[float]] = defaultdict(list)
    for outcome in side:
        for run in outcome.usable(metric):
            value = value_of(run, metric)
            if value is not None:
                found[run.seed] += to_scale([value], metric)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _test_clusters(units: Sequence[Sequence[float]]) -> Test:
    if all(math.isfinite(value) for values in units for value in values):
        return student_test([statistics.fmean(values) for values in units])
    both_missed_is_equal = [[0.0 if math.isnan(v) else v for v in values] for values in units]
    return signed_rank([statistics.median(values) for values in both_missed_is_equal])


def _test_seeds(by_seed: Sequence[Sequence[tuple[float, float]]]) -> Test:
    if all(math.isfinite(side) for pairs in by_seed for pair in pairs for side in pair):
        return student_test([statistics.fmean(a - b for a, b in pairs) for pairs in by_seed])
    level, reference = (
        tuple(statistics.median(pair[side] for pair in pairs) for pairs in by_seed)
        for side in (0, 1)
    )
    return mann_whitney(Contrast(level=level, reference=reference))


def _estimate(
    units: Sequence[Sequence[float]], metric: Metric, *, tested: bool
) -> dict[str, float | None]:
    """The mean over what reached the target on both sides, with an interval if all did."""
    finite = [[value for value in values if math.isfinite(value)] for values in units]
    means = [statistics.fmean(values) for values in finite if values]
    if not means:
        return {}
    interval = student(means) if tested and finite == list(units) else None
    low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
    shown = Interval(middle=round(statistics.fmean(means), DIGITS), low=low, high=high)
    shown = shown.as_ratio() if metric.ratio else shown
    return {"estimate": shown.middle, "low": shown.low, "high": shown.high}


def _counts(
    sides: Sequence[Sequence[Outcome[Record]]], metric: Metric, prefix: str
) -> dict[str, int | None]:
    values = [value for side in sides for outcome in side for value in outcome.values(metric)]
    reached = sum(map(math.isfinite, values)) if metric.to_target else None
    return {f"{prefix}runs": len(values), f"{prefix}reached": reached}


def as_files(frame: "pd.DataFrame") -> dict[str, bytes]:
    """The effects as CSV and JSON, by file name."""
    text = frame.to_json(orient="records", double_precision=12, indent=1)
    return {"effects.csv": csv(frame).encode(), "effects.json": f"{text}\n".encode()}
