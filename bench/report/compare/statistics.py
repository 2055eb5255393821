"""The tests of a comparison: of one cell over its seeds, and of all cells over their differences.

Ratios are compared as logarithms. Scores and times to accuracy are paired by seed if both sides
have the same seeds, since a seed fixes weights, order and draws. It doesn't fix the speed of the
machine, so images/s and training times get Welch's test. Both are t tests: with five seeds per side
the smallest p of Mann and Whitney's test is 0.008, which Holm's correction over seven cells or more
never accepts. Times with misses are infinite and have no mean, so they get Mann and Whitney's test,
exact and with ties.

Sources: Welch 1947; Mann and Whitney 1947; Holm 1979 (see `intervals`).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.report.columns import TIME, Metric
from bench.report.statistics.intervals import (
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
from bench.report.statistics.outcomes import PAIRED, difference, is_finite, mean

CELLS_NEEDED = 5

Method = Literal["Welch", "paired by seed", "Mann-Whitney"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One metric of one cell by seed: natural logarithms for ratios, infinite for a miss."""

    metric: Metric
    a: Mapping[int, float]
    b: Mapping[int, float]

    @property
    def contrast(self) -> Contrast:
        """The values of b against those of a."""
        return Contrast(level=tuple(self.b.values()), reference=tuple(self.a.values()))

    @property
    def seeds(self) -> tuple[int, int]:
        """Number of values on each side."""
        return len(self.a), len(self.b)

    @property
    def enough(self) -> bool:
        """Whether there are enough seeds for a claim about this cell alone."""
        return min(self.seeds) >= SEEDS_NEEDED

    @property
    def method(self) -> Method:
        """The test for this cell."""
        if not is_finite(self.contrast):
            return "Mann-Whitney"
        paired = self.metric in PAIRED and set(self.a) == set(self.b)
        return "paired by seed" if paired else "Welch"

    @property
    def difference(self) -> float:
        """b - a of the means, or of the medians if a target was missed; may be infinite or NaN."""
        if not is_finite(self.contrast):
            return difference(self.contrast, TIME)
        return round(mean(self.contrast.level) - mean(self.contrast.reference), 9)

    @property
    def reached(self) -> tuple[int, int]:
        """Number of finite values on each side."""
        a, b = (sum(map(math.isfinite, side.values())) for side in (self.a, self.b))
        return a, b

    def centre(self, letter: Literal["a", "b"]) -> float:
        """A side's mean, geometric for ratios; its median if a target was missed."""
        values = list((self.a if letter == "a" else self.b).values())
        middle = mean(values) if is_finite(self.contrast) else statistics.median(values)
        return math.exp(middle) if self.metric.ratio else middle

    def interval(self) -> Interval | None:
        """The difference with its 95 % interval; None with a miss or too few seeds."""
        if self.method == "Mann-Whitney":
            return None
        return student(self._pairs()) if self.method != "Welch" else welch(self.contrast)

    def test(self, null: float = 0.0) -> Test:
        """Tests whether the difference is `null`."""
        moved = Contrast(
            level=tuple(value - null for value in self.contrast.level),
            reference=self.contrast.reference,
        )
        if self.method == "Mann-Whitney":
            return mann_whitney(moved)
        if self.method == "Welch":
            return welch_test(moved)
        return student_test([value - null for value in self._pairs()])

    def _pairs(self) -> list[float]:
        return [self.b[seed] - self.a[seed] for seed in sorted(self.a)]


@dataclass(frozen=True, kw_only=True)
class Overall:
    """The unweighted mean difference over cells."""

    metric: Metric
    differences: tuple[float, ...]
    """One per cell; infinite if one side's median missed the target, NaN if both did."""

    @property
    def enough(self) -> bool:
        """Whether there are enough cells for a claim."""
        return len(self.differences) >= CELLS_NEEDED

    @property
    def known(self) -> list[float]:
        """The finite differences."""
        return [value for value in self.differences if math.isfinite(value)]

    @property
    def difference(self) -> float:
        """Mean of the finite differences; NaN if there are none."""
        return mean(self.known) if self.known else math.nan

    def interval(self) -> Interval | None:
        """Over the cells; None if a target was missed, or for fewer than two cells."""
        return student(self.known) if len(self.known) == len(self.differences) else None

    def test(self, null: float = 0.0) -> Test:
        """Tests whether the mean difference is `null`; by ranks if a target was missed."""
        moved = [value - null for value in self.differences]
        if len(self.known) == len(moved):
            return student_test(moved)
        return signed_rank([0.0 if math.isnan(value) else value for value in moved])


Estimate = Sample | Overall


def corrected_tests(estimates: Sequence[Estimate | None], null: float = 0.0) -> list[Test | None]:
    """Their tests, with Holm's correction for their number; None for too little data."""
    tests = [one.test(null) if one is not None and one.enough else None for one in estimates]
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    return [None if test is None else replace(test, p=next(adjusted)) for test in tests]
