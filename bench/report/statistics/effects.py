"""The effect of each level of a factor against a reference, and the best cell by a metric.

Effects are over cells that differ in nothing but the factor. Cells of one net are correlated, so
differences are first averaged per net. Student's t test is over five or more nets, else (always if
nets are compared) over five or more seeds that all cells have, averaged over the cells; with fewer
there is no claim. Seeds are paired, as a seed determines weights, order and draws, except for
images/s, which use Welch's test. Rank tests are used if a target was missed; a miss ranks after
every time. Holm's correction covers all effects of a page.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from bench.cell import AXES, Version
from bench.record import Record, RecordT
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.rows import Key, Outcome, distinctions, grouped, labels, value_of
from bench.report.statistics import intervals
from bench.report.statistics.intervals import ALPHA, DIGITS, SEEDS_NEEDED, Interval, Test
from bench.text import count

if TYPE_CHECKING:
    import pandas as pd

FACTORS = (*AXES, "epochs")
REFERENCES = {"augmentation": "none", "optimizer": "sgd"}
EFFECT_METRICS = (ACCURACY, MACRO_F1, SPEED, TIME)
PAIRED = (ACCURACY, MACRO_F1, TIME)  # a seed does not determine speed
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
Outcomes = Sequence[Outcome[Any]]
Block = dict[str, list[Outcome[Any]]]  # cells that differ in one factor, by its level
PlaceT = TypeVar("PlaceT", str, tuple[str, ...])


def outcomes_by_group(
    records: Iterable[RecordT],
) -> dict[tuple[str, str, str], list[Outcome[RecordT]]]:
    """The cells of each machine, scale and source, independent of the order of the records."""
    found = grouped(sorted(records, key=lambda record: (record.run_id, record.finished)))
    groups: dict[tuple[str, str, str], dict[Key, list[RecordT]]] = defaultdict(dict)
    for key, runs in found.items():
        groups[key.machine, key.cell.scale, key.cell.source][key] = runs
    return {name: _labelled(groups[name]) for name in sorted(groups)}


def _labelled(found: dict[Key, list[RecordT]]) -> list[Outcome[RecordT]]:
    outcomes = [
        Outcome(key=key, runs=tuple(sorted(found[key], key=lambda run: run.seed)), label=label)
        for key, label in labels({key: key.cell.name for key in found}).items()
    ]
    return sorted(outcomes, key=lambda outcome: (outcome.label, outcome.runs[0].run_id))


class Pair(NamedTuple):
    """Two sides that differ in one factor; a side has a cell for each recipe."""

    level: Outcomes
    reference: Outcomes


def to_scale(values: Iterable[float], metric: Metric) -> tuple[float, ...]:
    """The values as they are compared: logarithms for ratios."""
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The pairs of each level of a factor with its reference; a level may have none."""

    reference: str
    pairs: Mapping[str, Sequence[Pair]]


def match(outcomes: Outcomes, factor: str, metric: Metric = TIME) -> Matched | None:
    """Pairs of cells of each level and the reference; None if the factor has one level.

    Cells with different targets match unless `metric` is a time to the target.
    """
    levels = level_names(outcomes, factor)
    if len(set(levels.values())) < 2:
        return None
    found = blocks(outcomes, factor, metric)
    reference = _reference((levels[outcome.key] for outcome in outcomes), factor)
    pairs = {
        name: [
            Pair(block[name], block[reference])
            for block in found
            if {name, reference} <= set(block)
        ]
        for name in sorted({*levels.values()} - {reference}, key=lambda n: _order(n, factor))
    }
    return Matched(reference=reference, pairs=pairs)


def blocks(outcomes: Outcomes, factor: str, metric: Metric) -> list[Block]:
    """Groups of cells that are equal in all but a factor."""
    levels = level_names(outcomes, factor)
    found: dict[Key, Block] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        key = _for_metric(outcome.key.matching(factor), metric)
        found[key][levels[outcome.key]].append(outcome)
    return [dict(block) for block in found.values()]


def widest(sets: Iterable[Iterable[PlaceT]]) -> frozenset[PlaceT]:
    """The largest of some sets; of equally large ones the most frequent."""
    counts = Counter(map(frozenset, sets))
    return max(counts, key=lambda one: (len(one), counts[one], sorted(one)), default=frozenset())


def _for_metric(key: Key, metric: Metric) -> Key:
    return key if metric.to_target else replace(key, cell=key.cell.without("target_accuracy"))


def level_names(outcomes: Outcomes, factor: str) -> dict[Key, str]:
    """The level of each cell; versions of an entry are levels of their own."""
    if factor == "epochs":
        return {outcome.key: outcome.key.parts()["epochs"] for outcome in outcomes}
    named = {
        outcome.key: (getattr(outcome.cell, factor), dict(outcome.key.versions).get(factor))
        for outcome in outcomes
    }
    versions: dict[str, set[Version | None]] = defaultdict(set)
    for name, version in named.values():
        versions[name].add(version)
    return {
        key: f"{name} v{version}" if version and len(versions[name]) > 1 else name
        for key, (name, version) in named.items()
    }


def _order(level: str, factor: str) -> tuple[int, str]:
    return (int(level.split()[0]) if factor == "epochs" else 0, level)


def _reference(levels: Iterable[str], factor: str) -> str:
    """The usual reference, else the level with most cells, or with the fewest epochs."""
    counts = Counter(levels)
    if factor == "epochs":
        return min(counts, key=lambda name: _order(name, factor))
    usual = REFERENCES.get(factor, "")
    return usual if usual in counts else min(counts, key=lambda name: (-counts[name], name))


def is_finite(*sides: Iterable[float]) -> bool:
    """Whether every run reached the target."""
    return all(math.isfinite(value) for side in sides for value in side)


def mean(values: Sequence[float]) -> float:
    """The mean, rounded to `DIGITS`; infinite if a value is."""
    return round(statistics.fmean(values), DIGITS)


def difference(level: Sequence[float], reference: Sequence[float], metric: Metric) -> float:
    """Difference within a matched cell; infinite if one side missed the target, NaN if both did."""
    centre = statistics.median if metric.to_target else mean
    return round(centre(level) - centre(reference), DIGITS)


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
    for row, p in zip(tested, intervals.holm([row["p"] for row in tested]), strict=True):
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
    """A row of `effects` without names; None without values on both sides.

    Args:
        null: Subtracted from the level's values, to test whether it differs by more.
    """
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
    """The mean over the cells of a side for each seed, in the scale of `to_scale`, less `null`."""
    found: dict[int, list[float]] = defaultdict(list)
    for outcome in side:
        for run in outcome.usable(metric):
            value = value_of(run, metric)
            if value is not None:
                found[run.seed] += to_scale([value], metric)
    return {seed: statistics.fmean(values) - null for seed, values in found.items()}


def _over_clusters(units: Sequence[Sequence[float]]) -> Test:
    if is_finite(*units):
        return intervals.student([statistics.fmean(values) for values in units])
    medians = (statistics.median(map(_equal_if_both, values)) for values in units)
    return intervals.signed_rank([_equal_if_both(value) for value in medians])


def _equal_if_both(difference: float) -> float:
    """0 instead of NaN, where misses on both sides cancel out."""
    return 0.0 if math.isnan(difference) else difference


def _over_seeds(by_seed: Sequence[Sequence[tuple[float, float]]], metric: Metric) -> Test:
    finite = is_finite(*(pair for pairs in by_seed for pair in pairs))
    sides = [[[pair[side] for pair in pairs] for pairs in by_seed] for side in (0, 1)]
    level, reference = (
        [statistics.fmean(v) if finite else statistics.median(v) for v in side] for side in sides
    )
    return compare_seeds(level, reference, paired=metric in PAIRED)[1]


def compare_seeds(
    level: Sequence[float], reference: Sequence[float], *, paired: bool
) -> tuple[Method, Test]:
    """Tests values of seeds, by ranks if a run missed the target; `paired` by position."""
    if not is_finite(level, reference):
        return "Mann-Whitney", intervals.mann_whitney(level, reference)
    if not paired:
        return "Welch", intervals.welch(level, reference)
    pairs = zip(level, reference, strict=True)
    return "paired by seed", intervals.student([value - other for value, other in pairs])


def _estimate(
    units: Sequence[Sequence[float]], interval: Interval | None, metric: Metric
) -> dict[str, float]:
    """The mean over units that reached the target on both sides, and its interval."""
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


def ranking_groups(outcomes: Outcomes, metric: Metric) -> list[tuple[str, list[Outcome[Any]]]]:
    """Groups of outcomes that may be ranked together, each with how it differs from the others."""
    found: dict[Key, list[Outcome[Any]]] = defaultdict(list)
    for outcome in outcomes:
        found[_for_metric(outcome.key.ranking, metric)].append(outcome)
    words = distinctions(list(found))
    return [(words[key], found[key]) for key in sorted(found, key=lambda key: words[key])]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell by one metric, and the cells that it was compared with."""

    outcome: Outcome[Any]
    value: float  # mean over its seeds
    seeds: int
    lead: float  # ahead of the next cell; infinite if there is none
    p: Mapping[str, float]  # of other cells by label, corrected, the nearest first
    missed: int  # cells that missed the target with every seed, which counts as worse
    uncompared: int  # cells with a missed seed, or where either has too few trusted values


def best(outcomes: Outcomes, metric: Metric) -> Best | None:
    """The best cell of a ranking group, among those without failed runs and missed targets.

    Other cells are compared with it by Welch's test with Tamhane's correction; cells that missed
    the target are not tested.
    """
    places = {  # the lower, the better; infinite without trusted values
        outcome.label: (-1 if metric.higher else 1) * mean(values) if values else math.inf
        for outcome in outcomes
        if (values := outcome.values(metric)) or (metric.timing and outcome.suspect)
    }
    ranked = sorted(
        (outcome for outcome in outcomes if outcome.label in places),
        key=lambda outcome: (places[outcome.label], outcome.label),
    )
    whole = (
        outcome
        for outcome in ranked
        if outcome.values(metric)
        and len(outcome.good) == len(outcome.runs)
        and not (metric.to_target and outcome.reached < len(outcome.good))
    )
    winner = next(whole, None)
    if winner is None:
        return None
    top, rest = winner.values(metric), [outcome for outcome in ranked if outcome is not winner]
    missed = uncompared = 0
    p: dict[str, float] = {}
    for outcome in rest:
        values, label = outcome.values(metric), outcome.label
        reached = outcome.reached if metric.to_target else outcome.with_target
        if outcome.with_target and not reached:
            missed += 1
        elif reached < outcome.with_target or min(len(values), len(top)) < SEEDS_NEEDED:
            uncompared += 1
        else:
            test = intervals.welch(to_scale(values, metric), to_scale(top, metric))
            p[label] = test.p if places[label] > places[winner.label] else 1.0
    next_place = min((places[outcome.label] for outcome in rest), default=math.inf)
    return Best(
        outcome=winner,
        value=mean(top),
        seeds=len(top),
        lead=next_place - places[winner.label],
        p=dict(zip(p, intervals.tamhane(list(p.values())), strict=True)),
        missed=missed,
        uncompared=uncompared,
    )
