"""Confidence intervals and tests for small samples.

Sources: Welch 1947 and Satterthwaite 1946 for unequal variances; Wilcoxon 1945 for ranks, van
Elteren 1960 for ranks within strata; Holm 1979 for many tests at once.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
ALPHA = 1 - LEVEL
SEEDS_NEEDED = 5  # on each side, for a claim about one cell
DIGITS = 9  # differences below this are rounding errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its bounds, all in one unit."""

    middle: float
    low: float
    high: float

    def side(self, null: float = 0.0) -> int:
        """1 if all of it is above `null`, -1 if below, 0 if it includes `null`."""
        return (self.low > null) - (self.high < null)

    def as_ratio(self) -> "Interval":
        """From natural logarithms to ratios."""
        return Interval(
            middle=math.exp(self.middle),
            low=math.exp(min(self.low, 700.0)),
            high=math.exp(min(self.high, 700.0)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """The values of seeds on both sides of one comparison."""

    level: tuple[float, ...]
    reference: tuple[float, ...]


def student(values: Sequence[float]) -> Interval | None:
    """The mean of values with its t interval; None for fewer than two."""
    if len(values) < 2:
        return None
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return _around(statistics.fmean(values), spread, len(values) - 1, LEVEL)


def welch(contrasts: Sequence[Contrast]) -> Interval | None:
    """Mean difference over `contrasts`, all with the same weight, with its interval over seeds.

    For one contrast this is Welch's interval; None if a side has fewer than two values.
    """
    spread, freedom = _pooled(contrasts)
    if spread is None:
        return None
    return _around(_mean_difference(contrasts), spread, freedom, LEVEL)


def welch_p(contrast: Contrast) -> float:
    """Two-sided p of a difference between two means; 1 if it cannot be tested."""
    from scipy.stats import t

    spread, freedom = _pooled([contrast])
    difference = _mean_difference([contrast])
    if spread is None or difference == 0:
        return 1.0
    if spread == 0:
        return 0.0
    return float(2 * t.sf(abs(difference) / spread, freedom))


def _mean_difference(contrasts: Sequence[Contrast]) -> float:
    return statistics.fmean(
        round(statistics.fmean(one.level) - statistics.fmean(one.reference), DIGITS)
        for one in contrasts
    )


def _pooled(contrasts: Sequence[Contrast]) -> tuple[float | None, float]:
    """Standard error of the mean difference and its degrees of freedom."""
    sides = [side for one in contrasts for side in (one.level, one.reference)]
    if not sides or any(len(side) < 2 for side in sides):
        return None, 0.0
    parts = [statistics.variance(side) / len(side) for side in sides]
    total = sum(parts)
    if total < 10 ** (-2 * DIGITS):
        return 0.0, 1.0
    freedom = total**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)
    )
    return math.sqrt(total) / len(contrasts), freedom


def _around(middle: float, spread: float, freedom: float, level: float) -> Interval:
    from scipy.stats import t

    middle = round(middle, DIGITS)
    half = float(t.ppf((1 + level) / 2, freedom)) * spread
    return Interval(middle=middle, low=middle - half, high=middle + half)


def signed_rank(differences: Sequence[float]) -> tuple[int, float]:
    """The sign of differences (1, 0 or -1) and its exact two-sided p, by Wilcoxon with ties.

    Infinite differences rank above all others; zeros are left out. SciPy's exact test allows no
    ties.
    """
    import numpy as np
    from scipy.stats import rankdata

    nonzero = [value for value in differences if value != 0]
    if not nonzero:
        return 0, 1.0
    doubled = [int(rank) for rank in 2 * rankdata([abs(value) for value in nonzero])]
    chances = np.zeros(sum(doubled) + 1)
    chances[0] = 1.0
    for rank in doubled:  # each difference could have had the other sign
        moved = np.concatenate([np.zeros(rank), chances[: len(chances) - rank]])
        chances = (chances + moved) / 2
    found = sum(rank for rank, value in zip(doubled, nonzero, strict=True) if value > 0)
    below, above = float(chances[: found + 1].sum()), float(chances[found:].sum())
    middle = 2 * found - sum(doubled)
    return (middle > 0) - (middle < 0), min(1.0, 2 * min(below, above))


def rank_sum(contrasts: Sequence[Contrast]) -> tuple[float, float]:
    """How far the level ranks above the reference, in standard deviations, and its p.

    Ranks are within each contrast; infinite values rank last and tie with each other.
    """
    from scipy.stats import norm, rankdata

    above = variance = 0.0
    for one in contrasts:
        both = [*one.level, *one.reference]
        ranks = [float(rank) for rank in rankdata(both)]
        here, there, count = len(one.level), len(one.reference), len(both)
        above += sum(ranks[:here]) - here * (count + 1) / 2
        spread = sum((rank - (count + 1) / 2) ** 2 for rank in ranks)
        variance += here * there * spread / (count * (count - 1))
    if variance <= 0:
        return 0.0, 1.0
    score = above / math.sqrt(variance)
    return score, float(2 * norm.sf(abs(score)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """How a difference varies between parts."""

    p: float  # of the hypothesis that all parts have the same difference
    parts: tuple[Interval, ...]  # each part's difference; the intervals hold for all together


def between_cells(parts: Sequence[Sequence[float]]) -> Between:
    """F test over parts of several differences each, with one pooled variance.

    Raises:
        ValueError: Fewer than two parts, or none with two differences.
    """
    from scipy.stats import f_oneway

    freedom = sum(map(len, parts)) - len(parts)
    if freedom < 1 or len(parts) < 2:
        raise ValueError("a difference between parts needs two parts, and one with two values")
    repeated = [part for part in parts if len(part) > 1]
    variance = sum(statistics.variance(part) * (len(part) - 1) for part in repeated) / freedom
    means = [statistics.fmean(part) for part in parts]
    level = 1 - ALPHA / len(parts)
    intervals = tuple(
        _around(middle, math.sqrt(variance / len(part)), freedom, level)
        for part, middle in zip(parts, means, strict=True)
    )
    if variance < 10 ** (-2 * DIGITS):
        return Between(p=float(max(means) - min(means) < 10.0**-DIGITS), parts=intervals)
    return Between(p=float(f_oneway(*parts).pvalue), parts=intervals)


def between_seeds(parts: Sequence[Sequence[Contrast]]) -> Between:
    """The same where only seeds repeat: parts are weighted by their precision (Welch 1951).

    Raises:
        ValueError: Fewer than two parts, or a side with fewer than two values.
    """
    from scipy.stats import f

    if len(parts) < 2:
        raise ValueError("a difference between parts needs two parts")
    spreads, freedoms = [], []
    for part in parts:
        spread, freedom = _pooled(part)
        if spread is None:
            raise ValueError("a difference over seeds needs two of them on each side")
        spreads.append(max(spread, 10.0**-DIGITS))
        freedoms.append(freedom)
    means = [_mean_difference(part) for part in parts]
    weights = [1 / spread**2 for spread in spreads]
    total = sum(weights)
    whole = sum(w * m for w, m in zip(weights, means, strict=True)) / total
    across = len(parts) - 1
    score = sum(w * (m - whole) ** 2 for w, m in zip(weights, means, strict=True)) / across
    # Estimated weights make the plain statistic too large; Welch's correction divides it.
    loss = sum((1 - w / total) ** 2 / df for w, df in zip(weights, freedoms, strict=True))
    score /= 1 + 2 * (across - 1) * loss / ((across + 1) ** 2 - 1)
    level = 1 - ALPHA / len(parts)
    intervals = tuple(
        _around(middle, spread, freedom, level)
        for middle, spread, freedom in zip(means, spreads, freedoms, strict=True)
    )
    freedom = ((across + 1) ** 2 - 1) / (3 * loss) if loss > 0 else math.inf
    return Between(p=float(f.sf(score, across, freedom)), parts=intervals)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, in their order, with Holm's correction for their number."""
    adjusted = [0.0] * len(p_values)
    top = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        top = max(top, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = top
    return adjusted
