"""Confidence intervals and tests for small samples.

Sources: Student 1908; Welch 1947; Wilcoxon 1945; Mann and Whitney 1947; Holm 1979; Tamhane 1979
for comparisons with the best cell.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
ALPHA = 1 - LEVEL
SEEDS_NEEDED = 5  # seeds on each side for a claim about one cell
DIGITS = 9  # smaller differences are rounding errors
MAX_EXACT = 60  # values for an exact rank test; more use the normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its bounds."""

    middle: float
    low: float
    high: float

    def as_ratio(self) -> "Interval":
        """Converts natural logarithms to ratios."""
        return Interval(
            middle=math.exp(self.middle),
            low=math.exp(min(self.low, 700.0)),
            high=math.exp(min(self.high, 700.0)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Test:
    """Whether a level differs from its reference."""

    __test__ = False  # hides it from pytest

    side: int  # 1 if the level is higher, -1 if lower, 0 if equal
    p: float  # two-sided
    interval: Interval | None = None  # of the difference; rank tests have none


NO_TEST = Test(side=0, p=1.0)  # equal, or too few values


def quantile(alpha: float, freedom: float) -> float:
    """The two-sided quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - alpha / 2))


def student(values: Sequence[float]) -> Test:
    """Student's t test that the mean of values is zero; no test for fewer than two."""
    if len(values) < 2:
        return NO_TEST
    error = statistics.stdev(values) / math.sqrt(len(values))
    return _t_test(statistics.fmean(values), error, len(values) - 1)


def welch(level: Sequence[float], reference: Sequence[float]) -> Test:
    """Welch's test that two means are equal; no test if a side has fewer than two values."""
    sides = (level, reference)
    if min(map(len, sides)) < 2:
        return NO_TEST
    parts = [statistics.variance(side) / len(side) for side in sides]
    difference = statistics.fmean(level) - statistics.fmean(reference)
    squares = [part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)]
    freedom = sum(parts) ** 2 / sum(squares) if sum(parts) >= 10 ** (-2 * DIGITS) else 1.0
    return _t_test(difference, math.sqrt(sum(parts)), freedom)


def _t_test(value: float, error: float, freedom: float) -> Test:
    from scipy.special import stdtr

    value = round(value, DIGITS)
    half = quantile(ALPHA, freedom) * error if error >= 10.0**-DIGITS else 0.0
    p = float(2 * stdtr(freedom, -abs(value) / error)) if half else float(value == 0)
    interval = Interval(middle=value, low=value - half, high=value + half)
    return Test(side=_sign(value), p=p, interval=interval)


def signed_rank(differences: Sequence[float]) -> Test:
    """Wilcoxon's signed-rank test, exact with ties, which SciPy's is not.

    Infinite differences rank above all others; zeros are left out.
    """
    import numpy as np
    from scipy.stats import rankdata

    nonzero = [value for value in differences if value != 0]
    if not nonzero:
        return NO_TEST
    doubled = [int(rank) for rank in 2 * rankdata([abs(value) for value in nonzero])]
    chances = np.zeros(sum(doubled) + 1)
    chances[0] = 1.0
    for rank in doubled:  # each difference could have had the other sign
        moved = np.concatenate([np.zeros(rank), chances[: len(chances) - rank]])
        chances = (chances + moved) / 2
    found = sum(rank for rank, value in zip(doubled, nonzero, strict=True) if value > 0)
    return Test(side=_sign(2 * found - sum(doubled)), p=_two_sided(chances, found))


def mann_whitney(level: Sequence[float], reference: Sequence[float]) -> Test:
    """Mann and Whitney's test, exact with ties, which SciPy's is not; infinite values rank last.

    More than `MAX_EXACT` values use the normal distribution.
    """
    import numpy as np
    from scipy.stats import mannwhitneyu, rankdata

    values, number = np.round([*level, *reference], DIGITS), len(level)
    twice = [int(rank) for rank in 2 * rankdata(values)]
    observed, most = sum(twice[:number]), sum(twice)
    side = _sign(observed * len(twice) - number * most)
    if side == 0:
        return NO_TEST
    if len(values) > MAX_EXACT:
        sides = values[:number], values[number:]
        test = mannwhitneyu(*sides, method="asymptotic", use_continuity=False)
        return Test(side=side, p=float(test.pvalue))
    ways = np.zeros((number + 1, most + 1))  # by number of chosen values and their sum of ranks
    ways[0, 0] = 1.0
    for rank in twice:
        ways[1:, rank:] += ways[:-1, : most + 1 - rank].copy()
    return Test(side=side, p=_two_sided(ways[number] / ways[number].sum(), observed))


def _two_sided(chances: "np.ndarray", observed: int) -> float:
    below, above = float(chances[: observed + 1].sum()), float(chances[observed:].sum())
    return min(1.0, 2 * min(below, above))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values with Holm's correction, in the same order."""
    adjusted = [0.0] * len(p_values)
    top = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        top = max(top, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = top
    return adjusted


def tamhane(p_values: Sequence[float]) -> list[float]:
    """Welch's p values of cells against the best of them, corrected for all pairs of cells.

    As the best was selected by its value, the correction is for all pairs (Tamhane's T2). Games and
    Howell's procedure makes too many false claims with few seeds: 9 % for 66 cells of 5 seeds.
    """
    pairs = _pairs(len(p_values) + 1)
    return [1.0 if p >= 1 else -math.expm1(pairs * math.log1p(-p)) for p in p_values]


def detectable(deviation: float, seeds: int, cells: int) -> float:
    """The smallest difference from the best of `cells` that is significant under `tamhane`."""
    alpha = -math.expm1(math.log1p(-ALPHA) / _pairs(cells))
    return quantile(alpha, 2 * seeds - 2) * deviation * math.sqrt(2 / seeds)


def _pairs(cells: int) -> int:
    return cells * (cells - 1) // 2


def sampling_error(share: float, images: int) -> float:
    """Half of the 95 % interval of an accuracy (binomial, normal approximation)."""
    return statistics.NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(
        share * (1 - share) / images
    )
