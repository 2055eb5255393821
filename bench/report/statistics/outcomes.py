"""Cells beside each other: those that differ in one factor only, and the best by each metric."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.cell import AXES, Version
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.rows import Key, Outcome, distinctions, grouped
from bench.report.statistics.intervals import (
    ALPHA,
    DIGITS,
    SEEDS_NEEDED,
    Contrast,
    holm,
    rank_sum,
    welch_p,
)

FACTORS = (*AXES, "epochs")
REFERENCES = {"augmentation": "none", "optimizer": "sgd"}
EFFECT_METRICS = (ACCURACY, MACRO_F1, SPEED, TIME)
Z95 = 1.96
Outcomes = Sequence[Outcome[Record]]


def outcomes_by_group(
    records: Iterable[Record],
) -> dict[tuple[str, str, str], list[Outcome[Record]]]:
    """The cells of each machine, scale and source, the same for any order of the records."""
    found = grouped(sorted(records, key=lambda record: (record.run_id, record.finished)))
    groups: dict[tuple[str, str, str], dict[Key, list[Record]]] = defaultdict(dict)
    for key, runs in found.items():
        groups[key.machine, key.cell.scale, key.cell.source][key] = runs
    return {name: _labelled(groups[name]) for name in sorted(groups)}


def _labelled(found: dict[Key, list[Record]]) -> list[Outcome[Record]]:
    same: dict[str, list[Key]] = defaultdict(list)
    for key in found:
        same[key.cell.name].append(key)
    outcomes = []
    for name, keys in same.items():
        for key, budget in distinctions(keys).items():
            label = f"{name} ({budget})" if budget else name
            runs = tuple(sorted(found[key], key=lambda run: run.seed))
            outcomes.append(Outcome(key=key, runs=runs, label=label, budget=budget))
    return sorted(outcomes, key=lambda outcome: (outcome.label, outcome.runs[0].run_id))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sides that differ in one factor; a side has several cells if recipes differ."""

    level: tuple[Outcome[Record], ...]
    reference: tuple[Outcome[Record], ...]

    def contrast(self, metric: Metric) -> Contrast | None:
        """The values of all runs, logarithms for ratios; None if a side has none."""
        level, reference = (
            to_scale([value for outcome in side for value in outcome.values(metric)], metric)
            for side in (self.level, self.reference)
        )
        return Contrast(level=level, reference=reference) if level and reference else None


def to_scale(values: Iterable[float], metric: Metric) -> tuple[float, ...]:
    """The values on the scale on which they are compared: logarithms for ratios."""
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The levels of a factor with their matched cells; a level without any has an empty list."""

    factor: str
    reference: str
    pairs: Mapping[str, Sequence[Pair]]


def match(outcomes: Outcomes, factor: str) -> Matched | None:
    """Each level's cells beside those of the reference; None if the factor has one level."""
    return match_all([outcome for outcome in outcomes if outcome.good], factor)


def match_all(outcomes: Outcomes, factor: str, reference: str = "") -> Matched | None:
    """The same, with cells of which no run ended well.

    Args:
        outcomes: All are matched.
        factor: One of `FACTORS`.
        reference: The level to compare with, if there is one of that name.
    """
    levels = _levels(outcomes, factor)
    cells: dict[str, dict[Key, list[Outcome[Record]]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        cells[levels[outcome.key]][outcome.key.matching(factor)].append(outcome)
    if len(cells) < 2:
        return None
    if reference not in cells:
        reference = _reference(outcomes, levels, factor)
    names = sorted(set(cells) - {reference}, key=lambda name: _order(name, factor))
    pairs = {
        name: [
            Pair(level=tuple(found), reference=tuple(cells[reference][key]))
            for key, found in cells[name].items()
            if key in cells[reference]
        ]
        for name in names
    }
    return Matched(factor=factor, reference=reference, pairs=pairs)


def matches(outcomes: Outcomes) -> list[Matched]:
    """Those of all factors that have two levels or more."""
    found = (match(outcomes, factor) for factor in FACTORS)
    return [matched for matched in found if matched is not None]


def _levels(outcomes: Outcomes, factor: str) -> dict[Key, str]:
    """Names of levels; versions of one entry are levels of their own."""
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


def _reference(outcomes: Outcomes, levels: Mapping[Key, str], factor: str) -> str:
    """The factor's usual reference, else the level with most cells; of epochs the fewest."""
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        counts[levels[outcome.key]] += 1
    usual = {
        levels[outcome.key]
        for outcome in outcomes
        if getattr(outcome.cell, factor) == REFERENCES.get(factor)
    }
    names = usual or set(counts)
    if factor == "epochs":
        return min(names, key=lambda name: _order(name, factor))
    return min(names, key=lambda name: (-counts[name], name))


def enough_seeds(contrast: Contrast) -> bool:
    """Whether both sides have enough seeds for a claim about one cell."""
    return min(len(contrast.level), len(contrast.reference)) >= SEEDS_NEEDED


def is_finite(contrast: Contrast) -> bool:
    """Whether every run reached the target."""
    return all(map(math.isfinite, (*contrast.level, *contrast.reference)))


def mean(values: Sequence[float]) -> float:
    """The mean without rounding errors; infinite if a value is."""
    return round(statistics.fmean(values), DIGITS)


def difference(contrast: Contrast, metric: Metric) -> float:
    """Of a matched cell; infinite if one side missed the target, NaN if both did."""
    centre = statistics.median if metric.to_target else mean
    return round(centre(contrast.level) - centre(contrast.reference), DIGITS)


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell by one metric."""

    metric: Metric
    outcome: Outcome[Record]
    value: float  # mean over its seeds
    seeds: int
    worse: int  # cells that are significantly worse
    tied: tuple[str, ...]  # labels of cells that are not significantly different
    too_few: int  # cells that cannot be compared, as a side has too few seeds
    missed: int  # cells that missed the target with a seed; they are in the counts too
    margin: float | None  # 95 % sampling error, in points, of an accuracy on the test set
    test_images: int
    near: int  # of `too_few`, cells within `margin`

    @property
    def others(self) -> int:
        """All cells that it was compared with."""
        return self.worse + len(self.tied) + self.too_few


def ranking_groups(outcomes: Outcomes) -> dict[str, list[Outcome[Record]]]:
    """The outcomes that may be ranked together, by what sets each group apart ("" for one)."""
    found: dict[Key, list[Outcome[Record]]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.key.ranking].append(outcome)
    names = distinctions(list(found))
    return {names[key]: found[key] for key in sorted(found, key=lambda key: names[key])}


def best(outcomes: Outcomes, metric: Metric) -> Best | None:
    """The best of one ranking group: no failed run, no missed target, by trusted times only.

    Others are compared with it by Welch's test, or by ranks where a target was missed, with Holm's
    correction.
    """
    values = {outcome.label: outcome.values(metric) for outcome in outcomes}
    by_label = {outcome.label: outcome for outcome in outcomes if values[outcome.label]}
    whole = {
        label: mean(values[label])
        for label, outcome in by_label.items()
        if len(outcome.good) == len(outcome.runs)
        and not (metric.to_target and outcome.reached < len(outcome.good))
        and math.isfinite(sum(values[label]))
    }
    if not whole:
        return None
    sign = -1 if metric.best == "highest" else 1
    top = min(whole, key=lambda label: (sign * whole[label], label))
    winner = by_label.pop(top)
    reference = to_scale(values[top], metric)
    contrasts = {
        label: Contrast(level=to_scale(values[label], metric), reference=reference)
        for label in by_label
    }
    tested = {label: contrast for label, contrast in contrasts.items() if enough_seeds(contrast)}
    adjusted = holm([_p(contrast) for contrast in tested.values()])
    tied = [label for label, p in zip(tested, adjusted, strict=True) if p >= ALPHA]
    margin, test_images = _margin(winner, metric)
    untested = [mean(values[label]) for label in by_label if label not in tested]
    return Best(
        metric=metric,
        outcome=winner,
        value=whole[top],
        seeds=len(values[top]),
        worse=len(tested) - len(tied),
        tied=tuple(sorted(tied, key=lambda label: (sign * mean(values[label]), label))),
        too_few=len(untested),
        missed=sum(not math.isfinite(sum(values[label])) for label in by_label),
        margin=margin,
        test_images=test_images,
        near=0 if margin is None else sum(abs(one - whole[top]) <= margin for one in untested),
    )


def _p(contrast: Contrast) -> float:
    return welch_p(contrast) if is_finite(contrast) else rank_sum([contrast])[1]


def _margin(outcome: Outcome[Record], metric: Metric) -> tuple[float | None, int]:
    """By the binomial distribution of the right answers among so many test images."""
    metrics = outcome.good[0].metrics
    assert metrics is not None
    images = sum(scores.support for scores in metrics.per_class)
    if metric is not ACCURACY or not images:
        return None, images
    share = mean(outcome.values(metric)) / 100
    return 100 * Z95 * math.sqrt(share * (1 - share) / images), images
