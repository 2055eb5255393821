"""Intervals and tests for few figures: what a difference is, and whether chance alone would do.

Sources: Welch 1947 and Satterthwaite 1946 for unequal variances; Wilcoxon 1945 for ranks, van
Elteren 1960 for ranks within strata; Holm 1979 for many tests at once.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
ALPHA = 1 - LEVEL
DIGITS = 9  # what is left of equal figures after rounding errors is no difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its bounds, all in one unit."""

    middle: float
    low: float
    high: float

    def side(self, null: float = 0.0) -> int:
        """1 where all of it is above `null`, -1 below, 0 where it cannot tell."""
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
    """Figures of seeds on both sides of one comparison."""

    level: tuple[float, ...]
    reference: tuple[float, ...]


def student(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The mean of values with its t interval; None for fewer than two."""
    if len(values) < 2:
        return None
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return _around(statistics.fmean(values), spread, len(values) - 1, level)


def welch(contrasts: Sequence[Contrast], level: float = LEVEL) -> Interval | None:
    """Mean difference over `contrasts`, each weighing the same, with its interval over seeds.

    One contrast makes it Welch's; None where a side has fewer than two figures.
    """
    spread, freedom = _pooled(contrasts)
    if spread is None:
        return None
    return _around(_mean_difference(contrasts), spread, freedom, level)


def welch_p(contrast: Contrast) -> float:
    """Two-sided p of a difference between two means; 1 where it cannot be tested."""
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
    """The side that differences lean to (1, 0 or -1) and its exact two-sided p, ties included.

    Infinite differences rank above all others; zeros tell nothing and are left out.
    """
    import numpy as np
    from scipy.stats import rankdata

    told = [value for value in differences if value != 0]
    if not told:
        return 0, 1.0
    twice = [int(rank) for rank in 2 * rankdata([abs(value) for value in told])]
    chances = np.zeros(sum(twice) + 1)
    chances[0] = 1.0
    for rank in twice:  # each difference could as well have had the other sign
        moved = np.concatenate([np.zeros(rank), chances[: len(chances) - rank]])
        chances = (chances + moved) / 2
    found = sum(rank for rank, value in zip(twice, told, strict=True) if value > 0)
    below, above = float(chances[: found + 1].sum()), float(chances[found:].sum())
    middle = 2 * found - sum(twice)
    return (middle > 0) - (middle < 0), min(1.0, 2 * min(below, above))


def rank_sum(contrasts: Sequence[Contrast]) -> tuple[float, float]:
    """How far the level's figures rank above the reference's, in standard deviations, and its p.

    Ranks are within each contrast; infinite figures rank last and tie with each other.
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
    """How a difference varies between parts.

    Args:
        p: Of equal differences in all parts.
        parts: Each part's difference, intervals that hold for all parts together.
    """

    p: float
    parts: tuple[Interval, ...]


def between_cells(parts: Sequence[Sequence[float]]) -> Between:
    """F test over parts of several differences each; one pooled spread.

    Raises:
        ValueError: Fewer than two parts, or no part repeats.
    """
    from scipy.stats import f

    count = sum(map(len, parts))
    within, across = count - len(parts), len(parts) - 1
    if within < 1 or across < 1:
        raise ValueError("a difference between parts needs two parts, and one with two figures")
    means = [statistics.fmean(part) for part in parts]
    whole = statistics.fmean(value for part in parts for value in part)
    noise = sum(
        (value - middle) ** 2 for part, middle in zip(parts, means, strict=True) for value in part
    )
    noise = noise / within
    signal = sum(
        len(part) * (middle - whole) ** 2 for part, middle in zip(parts, means, strict=True)
    )
    signal = signal / across
    level = 1 - ALPHA / len(parts)
    intervals = tuple(
        _around(middle, math.sqrt(noise / len(part)), within, level)
        for part, middle in zip(parts, means, strict=True)
    )
    if noise < 10 ** (-2 * DIGITS):
        return Between(p=float(signal < 10 ** (-2 * DIGITS)), parts=intervals)
    return Between(p=float(f.sf(signal / noise, across, within)), parts=intervals)


def between_seeds(parts: Sequence[Sequence[Contrast]]) -> Between:
    """The same where the seeds alone repeat: parts weigh by their precision (Cochran's Q by F).

    Raises:
        ValueError: Fewer than two parts, or a side with fewer than two figures.
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
    whole = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    across = len(parts) - 1
    heard = sum(w * (m - whole) ** 2 for w, m in zip(weights, means, strict=True)) / across
    # Welch 1951: weights that are estimated make the plain statistic too large.
    loss = sum(
        (1 - w / sum(weights)) ** 2 / freedom for w, freedom in zip(weights, freedoms, strict=True)
    )
    heard /= 1 + 2 * (across - 1) * loss / ((across + 1) ** 2 - 1)
    level = 1 - ALPHA / len(parts)
    intervals = tuple(
        _around(middle, spread, freedom, level)
        for middle, spread, freedom in zip(means, spreads, freedoms, strict=True)
    )
    freedom = ((across + 1) ** 2 - 1) / (3 * loss) if loss > 0 else math.inf
    return Between(p=float(f.sf(heard, across, freedom)), parts=intervals)


def holm(p_values: Sequence[float]) -> list[float]:
    """The same with Holm's correction for their number, in their order."""
    adjusted = [0.0] * len(p_values)
    top = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        top = max(top, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = top
    return adjusted
