"""Comparisons of cells: pairs that differ in only one factor, and the best by each metric."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.cell import AXES, Version
from bench.record import RecordT
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.rows import Key, Outcome, distinctions, grouped, labels
from bench.report.statistics.intervals import DIGITS, SEEDS_NEEDED, tamhane, welch

FACTORS = (*AXES, "epochs")
REFERENCES = {"augmentation": "none", "optimizer": "sgd"}
EFFECT_METRICS = (ACCURACY, MACRO_F1, SPEED, TIME)
PAIRED = (ACCURACY, MACRO_F1, TIME)  # a seed does not determine speed
FAILED = ("diverged", "oom", "timeout", "crashed")
Outcomes = Sequence[Outcome[Any]]
Block = dict[str, list[Outcome[Any]]]  # cells that differ in one factor, by its level


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


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sides that differ in one factor; a side has a cell for each recipe."""

    level: tuple[Outcome[Any], ...]
    reference: tuple[Outcome[Any], ...]


def to_scale(values: Iterable[float], metric: Metric) -> tuple[float, ...]:
    """The values as they are compared: logarithms for ratios."""
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The levels of a factor with their matched cells, which may be none."""

    reference: str
    pairs: Mapping[str, Sequence[Pair]]


def match(outcomes: Outcomes, factor: str, metric: Metric = TIME) -> Matched | None:
    """Pairs of cells of each level and the reference; None if the factor has one level.

    Cells with different targets match unless `metric` is a time to the target.
    """
    levels = _levels(outcomes, factor)
    if len(set(levels.values())) < 2:
        return None
    found = blocks(outcomes, factor, metric)
    reference = _reference((levels[outcome.key] for outcome in outcomes), factor)
    pairs = {
        name: [
            Pair(level=tuple(block[name]), reference=tuple(block[reference]))
            for block in found
            if {name, reference} <= set(block)
        ]
        for name in sorted({*levels.values()} - {reference}, key=lambda n: _order(n, factor))
    }
    return Matched(reference=reference, pairs=pairs)


def blocks(outcomes: Outcomes, factor: str, metric: Metric) -> list[Block]:
    """The cells of each level of a factor that are equal in all else."""
    levels = _levels(outcomes, factor)
    found: dict[Key, Block] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        key = _for_metric(outcome.key.matching(factor), metric)
        found[key][levels[outcome.key]].append(outcome)
    return [dict(block) for block in found.values()]


def _for_metric(key: Key, metric: Metric) -> Key:
    return key if metric.to_target else replace(key, cell=key.cell.without("target_accuracy"))


def _levels(outcomes: Outcomes, factor: str) -> dict[Key, str]:
    """Names of levels; versions of one entry are separate levels."""
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


def ranking_groups(outcomes: Outcomes, metric: Metric) -> list[tuple[str, list[Outcome[Any]]]]:
    """The outcomes that may be ranked together by a metric, with the differences of each group."""
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
    uncompared: int  # cells with a missed seed, or a side has too few seeds with trusted values


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
            test = welch(to_scale(values, metric), to_scale(top, metric))
            p[label] = test.p if places[label] > places[winner.label] else 1.0
    next_place = min((places[outcome.label] for outcome in rest), default=math.inf)
    return Best(
        outcome=winner,
        value=mean(top),
        seeds=len(top),
        lead=next_place - places[winner.label],
        p=dict(zip(p, tamhane(list(p.values())), strict=True)),
        missed=missed,
        uncompared=uncompared,
    )
