"""Matched cells: two sides that differ in one factor and in nothing else."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Version
from bench.report.intervals import Contrast
from bench.report.outcomes import FACTORS, TIME, Metric, Outcome, matching_key, mean
from bench.report.rows import Key

SEEDS_NEEDED = 5
REFERENCES = {"augmentation": "none", "optimizer": "sgd"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sides that differ in one factor only; a side has several cells where recipes differ."""

    level: tuple[Outcome, ...]
    reference: tuple[Outcome, ...]

    def contrast(self, metric: Metric) -> Contrast | None:
        """Figures of the runs, logarithms for ratios; None where a side has none."""
        level, reference = (_figures(side, metric) for side in (self.level, self.reference))
        return Contrast(level=level, reference=reference) if level and reference else None


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A factor's levels with their matched cells; a level without any has an empty list."""

    factor: str
    reference: str
    pairs: Mapping[str, Sequence[Pair]]


def match(outcomes: Sequence[Outcome], factor: str) -> Matched | None:
    """Each level's cells beside those of the reference; None where the factor has one level."""
    return match_all([outcome for outcome in outcomes if outcome.good], factor)


def match_all(outcomes: Sequence[Outcome], factor: str, reference: str = "") -> Matched | None:
    """The same with cells of which no run ended well.

    Args:
        outcomes: All are matched.
        factor: One of `FACTORS`.
        reference: The level to compare with, if there is one of that name.
    """
    levels = _levels(outcomes, factor)
    cells: dict[str, dict[Key, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        cells[levels[outcome.key]][matching_key(outcome.key, factor)].append(outcome)
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


def matches(outcomes: Sequence[Outcome]) -> list[Matched]:
    """Of all factors that have two levels or more."""
    found = (match(outcomes, factor) for factor in FACTORS)
    return [one for one in found if one is not None]


def _levels(outcomes: Sequence[Outcome], factor: str) -> dict[Key, str]:
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


def _reference(outcomes: Sequence[Outcome], levels: Mapping[Key, str], factor: str) -> str:
    counts: dict[str, int] = defaultdict(int)
    wanted = REFERENCES.get(factor)
    for outcome in outcomes:
        counts[levels[outcome.key]] += 1
    preferred = {
        levels[outcome.key] for outcome in outcomes if getattr(outcome.cell, factor) == wanted
    }
    names = preferred or set(counts)
    if factor == "epochs":
        return min(names, key=lambda name: _order(name, factor))
    return min(names, key=lambda name: (-counts[name], name))


def enough_seeds(contrast: Contrast) -> bool:
    """Whether both sides have what a claim about one cell needs."""
    return min(len(contrast.level), len(contrast.reference)) >= SEEDS_NEEDED


def is_finite(contrast: Contrast) -> bool:
    """Whether no run of it missed the target."""
    return all(map(math.isfinite, (*contrast.level, *contrast.reference)))


def difference(contrast: Contrast, metric: Metric) -> float:
    """Of a matched cell; infinite where one side missed the target, not a number where both did."""
    centre = statistics.median if metric is TIME else mean
    return round(centre(contrast.level) - centre(contrast.reference), 9)


def _figures(side: Sequence[Outcome], metric: Metric) -> tuple[float, ...]:
    values = [value for outcome in side for value in outcome.values(metric)]
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


__all__ = [
    "SEEDS_NEEDED",
    "Matched",
    "Pair",
    "difference",
    "enough_seeds",
    "is_finite",
    "match",
    "match_all",
    "matches",
]
