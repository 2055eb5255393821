"""`bench compare`: which matched cells of two sides differ by more than chance, and by how much.

A cell is tested over its seeds and over its test images; all cells together are tested as effects
are. Over seeds, scores and times to accuracy are paired if both sides have the same seeds, since a
seed fixes weights, order and draws. It doesn't fix the speed of the machine, so images/s and
training times get Welch's test. Both are t tests: with five seeds per side the smallest p of Mann
and Whitney's test is 0.008, which Holm's correction over seven cells or more never accepts. Times
with misses are infinite and have no mean, so they get Mann and Whitney's test. Over images, the
trained networks are given and the images are a sample, so the test says nothing about other seeds.

A limit of `--fail-on` is broken where a test says that b is worse by more: in a cell, with Holm's
correction over the cells, or over all cells if there are enough nets or seeds.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.naming import Names
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from bench.report.compare.sides import Match, Side, differences, left_out, match_sides
from bench.report.statistics.effects import (
    PAIRED,
    Pair,
    compare_seeds,
    effect,
    is_finite,
    mean,
    values_by_seed,
)
from bench.report.statistics.intervals import ALPHA, DIGITS, SEEDS_NEEDED, Interval, Test, holm
from bench.text import count

METRICS = {metric.name: metric for metric in (SPEED, TRAIN, TIME, ACCURACY, MACRO_F1)}
SAME_TARGET = {"target_accuracy", "protocol"}  # must agree for times to accuracy
ALL_CELLS = "all cells together"
BETTER, WORSE = ("faster", "higher"), ("slower", "lower")  # of times and of scores
CEILING = replace(  # the same net fed one cached batch
    SPEED, name="ceiling", of=lambda run: run.throughput.ceiling if run.throughput else None
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Side b against side a: a ratio b / a, or a difference in points."""

    metric: Metric
    middle: float  # infinite or 0 if one side missed the target, NaN if both did
    interval: Interval | None
    test: Test | None  # None with too few seeds
    facts: Mapping[str, Any]  # values of both sides, their number, and the test

    @property
    def known(self) -> bool:
        """Whether `middle` is the difference of two values."""
        return math.isfinite(self.middle) and not (self.metric.ratio and self.middle == 0)

    @property
    def p(self) -> float | None:
        """The p value; None without a test."""
        return self.test.p if self.test else None

    @property
    def verdict(self) -> str:
        """What the test says of side b."""
        if self.test is None or self.test.p >= ALPHA:
            return "cannot tell" if self.test else "too few seeds"
        better = (self.test.side > 0) == self.metric.higher
        return (BETTER if better else WORSE)[not self.metric.timing]


Found = list[Difference | None]  # of each cell


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much worse side b may be, and what the tests say of it."""

    text: str  # as typed
    metric: Metric
    null: float  # the greatest allowed b - a: a logarithm for ratios, else points
    broken: tuple[str, ...] = ()  # cells that are worse by more, and `ALL_CELLS`
    tested: int = 0
    too_few: int = 0  # cells with too few seeds for a test


@dataclass(frozen=True, kw_only=True)
class Row:
    """One matched cell, or all of them together."""

    label: str
    names: tuple[str, str] = ("", "")  # of the cell on both sides
    found: Mapping[str, Difference]  # by the metric's name; only metrics that both sides have
    judged: Difference | None  # by the metric that the verdicts are on
    images: Difference | None = None  # over the test images; None if that cannot be tested

    @property
    def verdict(self) -> str:
        """What the test over seeds says of side b."""
        return self.judged.verdict if self.judged else "no data"

    @property
    def is_sure(self) -> bool:
        """Whether a test, over seeds or images, says that the sides differ."""
        images = self.images.verdict if self.images else ""
        return not {self.verdict, images}.isdisjoint((*BETTER, *WORSE))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Side b against side a."""

    a: Side
    b: Side
    metric: Metric  # what the verdicts are on
    differences: tuple[str, ...]
    rows: tuple[Row, ...]  # the best for side b first
    overall: Row  # empty for one cell
    notes: tuple[str, ...]
    unmatched: Mapping[str, Sequence[str]]  # names of cells, as in `Matches`
    limits: tuple[Limit, ...]


def compare(a: Side, b: Side, metric: Metric, limits: Sequence[Limit] = ()) -> Comparison:
    """Matches the cells of two sides and tests them; UsageError without common cells or data."""
    matches = match_sides(a, b)
    cells, same_target = matches.cells, SAME_TARGET.isdisjoint(matches.compared)
    metrics = [each for each in METRICS.values() if same_target or not each.to_target]
    found = {each.name: corrected(_differences(cells, each)) for each in metrics}
    if not any(found.get(metric.name, ())):
        raise UsageError(_no_data(cells, metric, same_target))
    judged, (images, without) = found[metric.name], _over_images(cells, a, b)
    shown = Names(side.cell for cell in cells for side in cell)
    rows = [
        Row(
            label=cell.a.label,
            names=(shown(cell.a.cell.name, cell.a.cell), shown(cell.b.cell.name, cell.b.cell)),
            found={name: one for name, each in found.items() if (one := each[at])},
            judged=judged[at],
            images=images[at],
        )
        for at, cell in enumerate(cells)
    ]
    overall = {each.name: one for each in metrics if (one := over_cells(cells, each))}
    whole = f"all {len(cells)} cells"
    ceiling = _ceiling_note(judged, cells) if metric in (SPEED, TRAIN) else ""
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        differences=tuple(differences(matches)),
        rows=tuple(sorted(rows, key=_place)),
        overall=Row(label=whole, found=overall, judged=overall.get(metric.name)),
        notes=(*left_out(matches), *filter(None, (ceiling, without))),
        unmatched=matches.unmatched,
        limits=tuple(_tested(limit, cells) for limit in limits),
    )


def over_seeds(
    a: Mapping[int, float], b: Mapping[int, float], metric: Metric, null: float = 0.0
) -> Difference:
    """The difference of a cell's means, or of its medians if a target was missed.

    Args:
        a: Values by seed: natural logarithms for ratios, infinite for a miss. `b` as well.
        null: Subtracted from the values of b.
    """
    before, after = [a[seed] for seed in sorted(a)], [b[seed] - null for seed in sorted(b)]
    method, test = compare_seeds(after, before, paired=metric in PAIRED and set(a) == set(b))
    centre = mean if is_finite(after, before) else statistics.median
    middles = [centre(before), centre(after)]
    middle, interval = round(middles[1] - middles[0], DIGITS), test.interval
    if metric.ratio:
        middle, *middles = map(math.exp, (middle, *middles))
        interval = interval and interval.as_ratio()
    facts = {"seeds": (len(a), len(b)), "a": middles[0], "b": middles[1], "test": method}
    if metric.to_target:
        facts["reached"] = [sum(map(math.isfinite, side)) for side in (before, after)]
    return Difference(
        metric=metric,
        middle=middle,
        interval=interval,
        test=test if min(len(a), len(b)) >= SEEDS_NEEDED else None,
        facts=facts,
    )


def on_same_images(right_a: Sequence[np.ndarray], right_b: Sequence[np.ndarray]) -> Difference:
    """The difference in accuracy of trained networks on images like these.

    Student's t test is over images; one network on each side gets McNemar's exact test (1947).

    Args:
        right_a: Which images each network of side a gets right, bool (images,). `right_b` as well.
    """
    from scipy.stats import binomtest, ttest_1samp

    points = 100 * (np.mean(right_b, axis=0) - np.mean(right_a, axis=0))
    middle, interval, p = round(float(points.mean()), DIGITS), None, 1.0
    better, discordant = int((points > 0).sum()), int((points != 0).sum())
    seeds, varied = (len(right_a), len(right_b)), bool(points.min() < points.max())
    if varied:
        found = ttest_1samp(points, 0)
        low, high = map(float, found.confidence_interval(1 - ALPHA))
        interval, p = Interval(middle=middle, low=low, high=high), float(found.pvalue)
    if discordant and (seeds == (1, 1) or not varied):
        p = float(binomtest(better, discordant).pvalue)
    facts = {"seeds": seeds, "images": len(points), "discordant": discordant}
    facts["test"] = "McNemar" if seeds == (1, 1) else "t over images"
    test = Test(side=(middle > 0) - (middle < 0), p=p)
    return Difference(metric=ACCURACY, middle=middle, interval=interval, test=test, facts=facts)


def over_cells(cells: Sequence[Match], metric: Metric, null: float = 0.0) -> Difference | None:
    """The mean difference over two cells or more, less `null`; tested as effects are."""
    pairs = [Pair(level=[cell.b], reference=[cell.a]) for cell in cells]
    nets_differ = any(cell.a.cell.architecture != cell.b.cell.architecture for cell in cells)
    row = effect(pairs, "architecture" if nets_differ else "", metric, null=null)
    if row is None or row["cells"] < 2:
        return None
    middle, low = row.get("estimate", math.nan), row.get("low", math.nan)
    return Difference(
        metric=metric,
        middle=middle,
        interval=None if math.isnan(low) else Interval(middle=middle, low=low, high=row["high"]),
        test=None if row["p"] is None else Test(side=row["side"], p=row["p"]),
        facts={name: row[name] for name in ("cells", "nets", "over")},
    )


def corrected(found: Sequence[Difference | None]) -> list[Difference | None]:
    """The differences with Holm's correction of their tests."""
    adjusted = iter(holm([one.test.p for one in found if one and one.test]))
    return [
        replace(one, test=replace(one.test, p=next(adjusted))) if one and one.test else one
        for one in found
    ]


def _place(row: Row) -> tuple[bool, float, str]:
    """The best for side b first, cells without a difference last."""
    found = row.judged
    if found is None or math.isnan(found.middle):
        return True, 0.0, row.label
    return False, -found.middle if found.metric.higher else found.middle, row.label


def _differences(cells: Sequence[Match], metric: Metric, null: float = 0.0) -> Found:
    """Of each cell; None if a side has no values."""
    values = [[values_by_seed([side], metric) for side in (cell.a, cell.b)] for cell in cells]
    return [over_seeds(a, b, metric, null) if a and b else None for a, b in values]


def _over_images(cells: Sequence[Match], a: Side, b: Side) -> tuple[Found, str]:
    """The tests over test images, and in which cells there is none and why."""
    found: Found = []
    reasons: Counter[str] = Counter()
    for cell in cells:
        kept = a.predictions(cell.a), b.predictions(cell.b)
        labels = [one.labels for side in kept for one in side]
        same_source = cell.a.key.fingerprint == cell.b.key.fingerprint
        found.append(None)
        if not all(kept):
            sides = [f"side {name}" for name, side in zip("ab", kept, strict=True) if not side]
            reasons[f"no predictions on {'sides a and b' if len(sides) > 1 else sides[0]}"] += 1
        elif same_source and all(np.array_equal(labels[0], other) for other in labels):
            found[-1] = on_same_images(*([one.right for one in side] for side in kept))
        else:
            reasons["different test images"] += 1
    why = ", ".join(f"{reason} in {count(n, 'cell')}" for reason, n in reasons.items())
    return corrected(found), f"No test over test images: {why}." if why else ""


def _tested(limit: Limit, cells: Sequence[Match]) -> Limit:
    """The limit, tested in each cell and over all of them."""
    found = _differences(cells, limit.metric, limit.null)
    every = corrected([*found, over_cells(cells, limit.metric, limit.null)])
    names = [*(cell.a.label for cell in cells), ALL_CELLS]
    tests = [(n, one.test) for n, one in zip(names, every, strict=True) if one and one.test]
    worse = -1 if limit.metric.higher else 1
    return replace(
        limit,
        broken=tuple(name for name, test in tests if test.side == worse and test.p < ALPHA),
        tested=len(tests),
        too_few=sum(one is not None and one.test is None for one in found),
    )


def _ceiling_note(judged: Sequence[Difference | None], cells: Sequence[Match]) -> str:
    """Whether cells that became faster or slower have a ceiling that changed the same way."""
    moved = same = 0
    for one, ceiling in zip(judged, _differences(cells, CEILING), strict=True):
        if one and one.verdict in (*BETTER, *WORSE):
            moved += 1
            same += ceiling is not None and ceiling.verdict == one.verdict
    if not same:
        return ""
    return (
        f"In {same} of {count(moved, 'cell')} that became faster or slower, the ceiling (the same "
        "net without waiting for data) changed the same way: the cause is the net, the software "
        "or the machine, not the pipeline alone."
    )


def _no_data(cells: Sequence[Match], metric: Metric, same_target: bool) -> str:
    sides = [side for cell in cells for side in cell]
    suspect, runs = sum(side.suspect for side in sides), sum(len(side.good) for side in sides)
    why = f"{suspect} of {runs} runs have suspect timings" if metric.timing else "runs failed"
    if metric.to_target and not same_target:
        why = "the sides have different targets or protocols"
    return (
        f"no matched cell has {metric.label} that can be compared ({why}): name another --metric, "
        "or run them again"
    )
