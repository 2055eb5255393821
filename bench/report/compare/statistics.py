"""What a comparison of two sides can tell: one cell by its seeds, all cells by their differences.

Ratios are compared as logarithms. Scores and times to accuracy are paired by seed where both sides
have the same seeds, since a seed fixes weights, order and draws; how fast the machine was it does
not fix, so images/s and training times are Welch's. Both are t tests: with five seeds a side the
least p of Mann and Whitney is 0.008, which no correction for seven cells or more would survive,
while a t test that finds an interval far from the null may. Times of which some are infinite, a
missed target, have no mean: there Mann's and Whitney's test is made, exact and with ties.

Sources: Welch 1947; Mann and Whitney 1947; Holm 1979 (see `intervals`).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.statistics.intervals import (
    ALPHA,
    Contrast,
    Interval,
    holm,
    rank_sum,
    signed_rank,
    student,
    welch,
    welch_p,
)
from bench.report.statistics.outcomes import (
    ACCURACY,
    MACRO_F1,
    SEEDS_NEEDED,
    TIME,
    Metric,
    difference,
    is_finite,
    mean,
)

CELLS_NEEDED = 5
EXACT = 60  # figures on both sides; with more the distribution of ranks is normal
PAIRED = (ACCURACY, MACRO_F1, TIME)

Method = Literal["Welch", "paired by seed", "Mann-Whitney"]


@dataclass(frozen=True, kw_only=True)
class Test:
    """Whether b may be said to differ from a.

    Args:
        side: 1 where b's figures lie above a's, -1 below, 0 where they are equal.
        p: Two-sided.
    """

    side: int
    p: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One figure of one cell, by seed: natural logarithms for ratios, infinite for a miss."""

    metric: Metric
    a: Mapping[int, float]
    b: Mapping[int, float]

    @property
    def contrast(self) -> Contrast:
        """The figures of b against those of a."""
        return Contrast(level=tuple(self.b.values()), reference=tuple(self.a.values()))

    @property
    def seeds(self) -> tuple[int, int]:
        """Figures on each side."""
        return len(self.a), len(self.b)

    @property
    def enough(self) -> bool:
        """Whether a claim about this cell alone may be made."""
        return min(self.seeds) >= SEEDS_NEEDED

    @property
    def method(self) -> Method:
        """The test that this cell gets."""
        if not is_finite(self.contrast):
            return "Mann-Whitney"
        paired = self.metric in PAIRED and set(self.a) == set(self.b)
        return "paired by seed" if paired else "Welch"

    @property
    def difference(self) -> float:
        """b less a: of means, of medians where a target was missed; may be infinite or NaN."""
        finite = is_finite(self.contrast)
        if not finite:
            return difference(self.contrast, TIME)
        return round(mean(self.contrast.level) - mean(self.contrast.reference), 9)

    @property
    def reached(self) -> tuple[int, int]:
        """Figures on each side that are finite."""
        return tuple(sum(map(math.isfinite, side.values())) for side in (self.a, self.b))  # type: ignore[return-value]

    def centre(self, letter: Literal["a", "b"]) -> float:
        """A side's mean, a geometric one for ratios; the median where a target was missed."""
        values = list((self.a if letter == "a" else self.b).values())
        middle = mean(values) if is_finite(self.contrast) else statistics.median(values)
        return math.exp(middle) if self.metric.ratio else middle

    def interval(self) -> Interval | None:
        """The difference with its 95 % interval; None with a miss or too few seeds for one."""
        if self.method == "Mann-Whitney":
            return None
        return student(self._pairs()) if self.method != "Welch" else welch([self.contrast])

    def test(self, null: float = 0.0) -> Test:
        """Of the difference being `null`."""
        moved = Contrast(
            level=tuple(value - null for value in self.contrast.level),
            reference=self.contrast.reference,
        )
        if self.method == "Mann-Whitney":
            return mann_whitney(moved)
        if self.method == "Welch":
            gap = mean(moved.level) - mean(moved.reference)
            return Test(side=_sign(gap), p=welch_p(moved))
        return student_test([value - null for value in self._pairs()])

    def _pairs(self) -> list[float]:
        return [self.b[seed] - self.a[seed] for seed in sorted(self.a)]


@dataclass(frozen=True, kw_only=True)
class Overall:
    """The mean difference of cells, each weighing the same; its interval is over the cells.

    Args:
        differences: One a cell; infinite where one side's median missed the target, not a number
            where both did.
    """

    metric: Metric
    differences: tuple[float, ...]

    @property
    def enough(self) -> bool:
        """Whether there are cells enough for a claim."""
        return len(self.differences) >= CELLS_NEEDED

    @property
    def known(self) -> list[float]:
        """The differences that are finite."""
        return [value for value in self.differences if math.isfinite(value)]

    @property
    def middle(self) -> float | None:
        """Their mean."""
        return mean(self.known) if self.known else None

    def interval(self) -> Interval | None:
        """None where a target was missed, or for fewer than two cells."""
        return student(self.known) if len(self.known) == len(self.differences) else None

    def test(self, null: float = 0.0) -> Test:
        """Of no difference but `null` between the sides of a cell; by ranks where one missed."""
        moved = [value - null for value in self.differences]
        if len(self.known) == len(moved):
            return student_test(moved)
        side, p = signed_rank([0.0 if math.isnan(value) else value for value in moved])
        return Test(side=side, p=p)


def student_test(values: Sequence[float]) -> Test:
    """Student's t test that the mean of values is zero; p is 1 for fewer than two."""
    from scipy.stats import t

    found = student(values)
    if found is None or found.middle == 0:
        return Test(side=0, p=1.0)
    half = found.high - found.middle
    if half < 1e-12:
        return Test(side=_sign(found.middle), p=0.0)
    freedom = len(values) - 1
    score = abs(found.middle) * float(t.ppf(1 - ALPHA / 2, freedom)) / half
    return Test(side=_sign(found.middle), p=float(2 * t.sf(score, freedom)))


def mann_whitney(contrast: Contrast) -> Test:
    """Exact with ties for up to `EXACT` figures, by the normal distribution for more."""
    if len(contrast.level) + len(contrast.reference) > EXACT:
        score, p = rank_sum([contrast])
        return Test(side=_sign(score), p=p)
    return _exact(contrast)


def _exact(contrast: Contrast) -> Test:
    """Over all ways to deal the pooled figures to the two sides."""
    import numpy as np
    from scipy.stats import rankdata

    level, reference = (np.round(side, 9) for side in (contrast.level, contrast.reference))
    twice = [int(rank) for rank in 2 * rankdata([*level, *reference])]
    number, most = len(level), sum(twice)
    ways = np.zeros((number + 1, most + 1))
    ways[0, 0] = 1.0
    for rank in twice:  # from many to few, so that no figure is dealt twice
        ways[1:, rank:] += ways[:-1, : most + 1 - rank].copy()
    chances = ways[number] / ways[number].sum()
    found = sum(twice[:number])
    below, above = float(chances[: found + 1].sum()), float(chances[found:].sum())
    middle = found * len(twice) - number * most
    return Test(side=_sign(middle), p=min(1.0, 2 * min(below, above)))


def corrected(tests: Sequence[Test | None]) -> list[float | None]:
    """Their p with Holm's correction for their number; None stays."""
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    return [None if test is None else next(adjusted) for test in tests]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
