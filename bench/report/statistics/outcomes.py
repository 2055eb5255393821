"""What each cell gave: its runs, their figures, and what it may be compared with.

A missed target is a time longer than any other (infinite), never a gap. Runs whose timing is
suspect have scores but no speeds.

Matched cells: two sides that differ in one factor and in nothing else.

The best cell by each figure, and which others cannot be told from it.

Cells are ranked within one setting (images, width, target, protocol, ...). Welch's test, or ranks
where targets were missed, with Holm's correction over the cells compared.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.cell import AXES, Cell, Version, fields_of
from bench.record import Record
from bench.report.rows import Key, differing_settings, grouped
from bench.report.statistics.intervals import ALPHA, Contrast, holm, rank_sum, welch_p

FACTORS = (*AXES, "epochs")
CHOSEN_WITH = {"architecture", "optimizer"}  # a recipe and its batch size belong to these two


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A figure that cells are compared by.

    Args:
        name: As in the matrix.
        label: As people read it.
        ratio: Whether two values are compared by their ratio; else by their difference in points
            of a percent.
        higher: Whether more is better.
        timing: Whether a busy machine spoils it.
    """

    name: str
    label: str
    ratio: bool
    higher: bool
    timing: bool


ACCURACY = Metric(name="accuracy", label="accuracy", ratio=False, higher=True, timing=False)
MACRO_F1 = Metric(name="macro_f1", label="macro F1", ratio=False, higher=True, timing=False)
SPEED = Metric(name="images_per_s", label="images/s", ratio=True, higher=True, timing=True)
TIME = Metric(
    name="time_to_accuracy_s", label="time to accuracy", ratio=True, higher=False, timing=True
)
TRAIN = Metric(name="train_s", label="train time", ratio=True, higher=False, timing=True)
METRICS = (ACCURACY, MACRO_F1, SPEED, TIME)  # what effects are told of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One cell with all that its runs gave.

    Args:
        key: What its runs have in common.
        runs: By seed.
        label: Its name, with what sets it apart from others of that name.
    """

    key: Key
    runs: tuple[Record, ...]
    label: str

    @property
    def cell(self) -> Cell:
        """The cell, without the origin of its recipe."""
        return self.key.cell

    @cached_property
    def good(self) -> tuple[Record, ...]:
        """The runs that ended well."""
        return tuple(run for run in self.runs if run.status == "ok" and run.metrics is not None)

    @cached_property
    def trusted(self) -> tuple[Record, ...]:
        """Those of them whose timing is not suspect."""
        return tuple(run for run in self.good if not run.timing_suspect)

    def values(self, metric: Metric) -> tuple[float, ...]:
        """One figure a run, percents for scores; infinite for a missed target."""
        runs = self.trusted if metric.timing else self.good
        found = (value_of(run, metric) for run in runs)
        return tuple(value for value in found if value is not None)

    @property
    def reached(self) -> int:
        """Runs that reached the target."""
        return sum(value_of(run, TIME) not in (None, math.inf) for run in self.good)

    @property
    def aimed(self) -> int:
        """Runs that could have been seen to reach it."""
        return sum(value_of(run, TIME) is not None for run in self.good)


def value_of(run: Record, metric: Metric) -> float | None:
    """A figure of a run that ended well, a percent for a score; None where it has none."""
    assert run.metrics is not None
    if metric is TIME:
        if not run.cell.holds_out:
            return None
        seconds = run.metrics.time_to_accuracy_s
        return math.inf if seconds is None else seconds
    if metric is SPEED:
        return run.throughput.median if run.throughput and run.throughput.median > 0 else None
    if metric is TRAIN:
        return run.timings.train_s if run.timings.train_s > 0 else None
    return 100 * float(getattr(run.metrics, metric.name))


def mean(values: Sequence[float]) -> float:
    """Their mean, to what a figure can be told by; infinite if one is."""
    return round(statistics.fmean(values), 9)


def outcomes_by_group(records: Iterable[Record]) -> dict[tuple[str, str, str], list[Outcome]]:
    """The outcomes of each machine, scale and source, the same for any order of the records."""
    found = grouped(sorted(records, key=lambda record: (record.run_id, record.finished)))
    groups: dict[tuple[str, str, str], dict[Key, list[Record]]] = defaultdict(dict)
    for key, runs in found.items():
        groups[key.machine, key.cell.scale, key.cell.source][key] = runs
    return {name: _labelled(groups[name]) for name in sorted(groups)}


def _labelled(found: dict[Key, list[Record]]) -> list[Outcome]:
    same: dict[str, list[Key]] = defaultdict(list)
    for key in found:
        same[key.cell.name].append(key)
    labels: dict[Key, str] = {}
    for name, keys in same.items():
        parts = {key: key.parts() for key in keys}
        recipes = differing_settings([key.cell for key in keys])
        for key in keys:
            apart = [
                text
                for part, text in parts[key].items()
                if text and any(other.get(part) != text for other in parts.values())
            ]
            apart += recipes[key.cell]
            labels[key] = name + (f" ({', '.join(apart)})" if apart else "")
    outcomes = [
        Outcome(key=key, runs=tuple(sorted(runs, key=lambda run: run.seed)), label=labels[key])
        for key, runs in found.items()
    ]
    return sorted(outcomes, key=lambda outcome: (outcome.label, outcome.runs[0].run_id))


def matching_key(key: Key, factor: str) -> Key:
    """The key without `factor`: cells that agree in it differ in nothing else.

    Nets and optimizers are compared each with its own recipe, the batch size included.
    """
    recipe = fields_of("recipe") if factor in CHOSEN_WITH else ()
    versions = tuple((kind, number) for kind, number in key.versions if kind != factor)
    return replace(key, cell=key.cell.without(factor, *recipe), versions=versions)


def setting_key(key: Key) -> Key:
    """The key without axes, recipe and epochs: cells that agree in it may be ranked together."""
    cell = key.cell.without(*fields_of("axis", "recipe"), "epochs")
    return replace(key, cell=cell, versions=())


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


Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell by one figure.

    Args:
        value: Mean over its seeds.
        seeds: Of the best.
        worse: How many cells are worse beyond chance.
        alike: Labels of those that cannot be told from it, by their mean.
        too_few: How many cannot be compared for want of seeds on either side.
        missed: How many others missed the target with a seed; they are in the counts too.
        margin: Points by which the choice of test images alone moves an accuracy, at 95 %; None
            where it says nothing of the figure.
        test_images: Of the best's test set.
        near: Of `too_few`, how many lie within `margin`.
    """

    metric: Metric
    outcome: Outcome
    value: float
    seeds: int
    worse: int
    alike: tuple[str, ...]
    too_few: int
    missed: int
    margin: float | None
    test_images: int
    near: int

    @property
    def others(self) -> int:
        """All cells it was compared with."""
        return self.worse + len(self.alike) + self.too_few


def settings(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each setting by what sets it apart in words; "" where it is the only one."""
    found: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[setting_key(outcome.key)].append(outcome)
    parts = {key: key.parts() for key in found}
    words = {
        key: ", ".join(
            text
            for name, text in parts[key].items()
            if text and any(other.get(name) != text for other in parts.values())
        )
        for key in found
    }
    return {words[key]: found[key] for key in sorted(found, key=lambda key: words[key])}


def best(outcomes: Sequence[Outcome], metric: Metric) -> Best | None:
    """The best of one setting, chosen as in the matrix: whole cells, no suspect time, no miss."""
    values = {outcome.label: (outcome, outcome.values(metric)) for outcome in outcomes}
    known = {label: found for label, found in values.items() if found[1]}
    whole = {
        label: mean(figures)
        for label, (outcome, figures) in known.items()
        if len(outcome.good) == len(outcome.runs)
        and not (metric.timing and len(outcome.trusted) < len(outcome.good))
        and math.isfinite(sum(figures))
    }
    if not whole:
        return None
    top = min(whole, key=lambda label: ((-1 if metric.higher else 1) * whole[label], label))
    outcome, figures = known.pop(top)
    tested = {
        label: Contrast(level=_scaled(other, metric), reference=_scaled(figures, metric))
        for label, (_, other) in known.items()
        if min(len(other), len(figures)) >= SEEDS_NEEDED
    }
    adjusted = holm([_p(contrast) for contrast in tested.values()])
    alike = [label for label, p in zip(tested, adjusted, strict=True) if p >= ALPHA]
    margin, test_images = _margin(outcome, metric)
    untested = [mean(other) for label, (_, other) in known.items() if label not in tested]
    return Best(
        metric=metric,
        outcome=outcome,
        value=whole[top],
        seeds=len(figures),
        worse=len(tested) - len(alike),
        alike=tuple(
            sorted(alike, key=lambda label: _ranking_order(known[label][1], metric, label))
        ),
        too_few=len(untested),
        missed=sum(not math.isfinite(sum(other)) for _, other in known.values()),
        margin=margin,
        test_images=test_images,
        near=0 if margin is None else sum(abs(one - whole[top]) <= margin for one in untested),
    )


def _ranking_order(values: Sequence[float], metric: Metric, label: str) -> tuple[float, str]:
    return (-mean(values) if metric.higher else mean(values), label)


def _scaled(values: Sequence[float], metric: Metric) -> tuple[float, ...]:
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


def _p(contrast: Contrast) -> float:
    return welch_p(contrast) if is_finite(contrast) else rank_sum([contrast])[1]


def _margin(outcome: Outcome, metric: Metric) -> tuple[float | None, int]:
    """Of a share of so many test images: the binomial's."""
    metrics = outcome.good[0].metrics
    assert metrics is not None
    images = sum(one.support for one in metrics.per_class)
    if metric.name != "accuracy" or not images:
        return None, images
    share = mean(outcome.values(metric)) / 100
    return 100 * Z95 * math.sqrt(share * (1 - share) / images), images
