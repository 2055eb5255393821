"""The tests of a comparison: over the seeds of a cell, over its test images, and over all cells.

Over seeds, scores and times to accuracy are paired by seed if both sides have the same seeds, since
a seed fixes weights, order and draws. It doesn't fix the speed of the machine, so images/s and
training times get Welch's test. Both are t tests: with five seeds per side the smallest p of Mann
and Whitney's test is 0.008, which Holm's correction over seven cells or more never accepts. Times
with misses are infinite and have no mean, so they get Mann and Whitney's test.

Over images, the trained networks are given and the test set is a sample of images, so the test says
nothing about other seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.report.columns import ACCURACY, Metric
from bench.report.compare.sides import Match
from bench.report.statistics.effects import effect, tested
from bench.report.statistics.intervals import (
    ALPHA,
    DIGITS,
    SEEDS_NEEDED,
    Interval,
    Test,
    holm,
    over_images,
)
from bench.report.statistics.outcomes import PAIRED, Pair, is_finite, mean

BETTER, WORSE = ("faster", "higher"), ("slower", "lower")  # of times and of scores


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


def over_seeds(
    a: Mapping[int, float], b: Mapping[int, float], metric: Metric, null: float = 0.0
) -> Difference:
    """The difference of a cell's means, or of its medians if a target was missed.

    Args:
        a: Values by seed: natural logarithms for ratios, infinite for a miss. `b` as well.
        null: Subtracted from the values of b.
    """
    before, after = [a[seed] for seed in sorted(a)], [b[seed] - null for seed in sorted(b)]
    method, test = tested(after, before, paired=metric in PAIRED and set(a) == set(b))
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
    """The difference in accuracy of trained networks on the same test images.

    Args:
        right_a: Which images each network of side a gets right, bool (images,). `right_b` as well.
    """
    points = 100 * (np.mean(right_b, axis=0) - np.mean(right_a, axis=0))
    seeds = len(right_a), len(right_b)
    test = over_images(points, exact=seeds == (1, 1))
    facts = {"seeds": seeds, "images": len(points), "discordant": int((points != 0).sum())}
    facts["test"] = "McNemar" if seeds == (1, 1) else "t over images"
    middle = round(float(points.mean()), DIGITS)
    return Difference(
        metric=ACCURACY, middle=middle, interval=test.interval, test=test, facts=facts
    )


def over_cells(cells: Sequence[Match], metric: Metric, null: float = 0.0) -> Difference | None:
    """The mean difference over two cells or more, less `null`; tested as effects are."""
    pairs = [Pair(level=(cell.b,), reference=(cell.a,)) for cell in cells]
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
