"""Intervals and tests: as published, and right about chance as often as they say."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.report.statistics.intervals import (
    Contrast,
    Interval,
    between_cells,
    between_seeds,
    holm,
    rank_sum,
    signed_rank,
    student,
    welch,
    welch_p,
)

FIGURES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=2, max_size=12)


def contrast(level: Sequence[float], reference: Sequence[float]) -> Contrast:
    return Contrast(level=tuple(level), reference=tuple(reference))


@given(FIGURES.filter(lambda values: len(set(values)) > 1))
def test_student_is_the_t_interval(values: list[float]) -> None:
    found = student(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-8)


@given(FIGURES.filter(lambda v: len(set(v)) > 1), FIGURES.filter(lambda v: len(set(v)) > 1))
def test_one_contrast_is_welchs_test(level: list[float], reference: list[float]) -> None:
    found = welch([contrast(level, reference)])
    expected = stats.ttest_ind(level, reference, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-6, abs=1e-7)
    assert welch_p(contrast(level, reference)) == pytest.approx(expected.pvalue, abs=1e-6)


def test_too_few_figures_have_no_interval_and_equal_ones_no_difference() -> None:
    assert student([1.0]) is None
    assert welch([]) is None
    assert welch([contrast([1.0], [2.0, 3.0])]) is None
    assert welch_p(contrast([1.0], [2.0, 3.0])) == 1.0
    assert welch_p(contrast([1.0, 1.0], [1.0, 1.0])) == 1.0
    assert welch_p(contrast([1.0, 1.0], [2.0, 2.0])) == 0.0
    same = student([0.1 + 0.2 - 0.3] * 5)
    assert same is not None
    assert same.side() == 0


def test_sides_of_an_interval() -> None:
    assert Interval(middle=1, low=0.5, high=2).side() == 1
    assert Interval(middle=-1, low=-2, high=-0.5).side() == -1
    assert Interval(middle=1, low=0.0, high=2).side() == 0
    assert Interval(middle=0.0, low=-1.0, high=math.log(2)).as_ratio().high == pytest.approx(2)


def test_contrasts_weigh_the_same_and_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        parts = [
            contrast(rng.normal(shift + 2, spread, 5), rng.normal(shift, 1, 5))
            for shift, spread in ((0, 1), (10, 2), (-5, 0.5))
        ]
        found = welch(parts)
        assert found is not None
        held += found.low <= 2 <= found.high
    assert 930 <= held <= 970


@given(
    st.lists(st.integers(-10_000, 10_000).filter(bool), min_size=1, max_size=12, unique_by=abs),
)
def test_signed_ranks_are_exact(differences: list[int]) -> None:
    _, p = signed_rank([float(value) for value in differences])
    assert p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_a_miss_ranks_beyond_every_time() -> None:
    side, p = signed_rank([0.1, -0.2, 0.3, math.inf, math.inf, math.inf, math.inf, math.inf])
    assert (side, p < 0.05) == (1, True)
    assert signed_rank([-math.inf] * 6) == (-1, pytest.approx(2 / 2**6))
    assert signed_rank([math.inf, -math.inf]) == (0, 1.0)
    assert signed_rank([0.0, 0.0]) == (0, 1.0)
    score, p = rank_sum([contrast([math.inf] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])])
    assert score > 0
    assert p < 0.05
    assert rank_sum([contrast([math.inf] * 5, [math.inf] * 5)]) == (0.0, 1.0)


@given(FIGURES, FIGURES)
def test_rank_sums_are_mann_and_whitneys(level: list[float], reference: list[float]) -> None:
    _, p = rank_sum([contrast(level, reference)])
    expected = stats.mannwhitneyu(level, reference, method="asymptotic", use_continuity=False)
    both = set(level) | set(reference)
    assert p == pytest.approx(1.0 if len(both) == 1 else expected.pvalue)


def test_parts_that_differ_are_found_and_false_alarms_are_as_rare_as_claimed() -> None:
    rng = np.random.default_rng(0)
    parts = [list(rng.normal(0, 1, 4)) for _ in range(5)]
    assert between_cells(parts).p == pytest.approx(stats.f_oneway(*parts).pvalue)
    alarms = missed = 0
    for _ in range(1000):
        found = between_cells([list(rng.normal(1, 1, n)) for n in (3, 3, 4, 7)])
        alarms += found.p < 0.05
        missed += any(not part.low <= 1 <= part.high for part in found.parts)
    assert 30 <= alarms <= 70
    assert missed <= 60  # all parts together
    parts[2] = [value + 6 for value in parts[2]]
    assert between_cells(parts).p < 0.001
    with pytest.raises(ValueError, match="two parts"):
        between_cells([[1.0], [2.0]])


def test_parts_are_distinguished_by_their_seeds() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(600):
        found = between_seeds(
            [[contrast(rng.normal(1, s, 5), rng.normal(0, s, 5))] for s in (0.5, 1, 1, 2)]
        )
        alarms += found.p < 0.05
    assert 15 <= alarms <= 50
    apart = [[contrast(rng.normal(m, 1, 5), rng.normal(0, 1, 5))] for m in (0, 0, 8)]
    found = between_seeds(apart)
    assert found.p < 0.001
    assert [part.side() for part in found.parts] == [0, 0, 1]
    with pytest.raises(ValueError, match="two parts"):
        between_seeds(apart[:1])
    with pytest.raises(ValueError, match="two of them"):
        between_seeds([*apart, [contrast([1.0], [2.0, 3.0])]])


def test_holm_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_only_ever_raises(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(one <= after <= 1 for one, after in zip(p_values, adjusted, strict=True))
    assert min(adjusted, default=0.0) == min(1.0, len(p_values) * min(p_values, default=0.0))
