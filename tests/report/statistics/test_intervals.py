"""Intervals and tests: as published, and with the promised error rates."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.report.statistics.intervals import (
    Test,
    detectable,
    holm,
    mann_whitney,
    signed_rank,
    student,
    tamhane,
    welch,
)

FIGURES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=2, max_size=12)
VARIED = FIGURES.filter(lambda values: len(set(values)) > 1)


@given(VARIED)
def test_student_is_the_t_test(values: list[float]) -> None:
    found, expected = student(values), stats.ttest_1samp(values, 0)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-8)
    bounds = tuple(expected.confidence_interval(0.95))
    assert (found.interval.low, found.interval.high) == pytest.approx(bounds, abs=1e-8)


@given(VARIED, VARIED)
def test_welch_is_welchs_test(level: list[float], reference: list[float]) -> None:
    found = welch(level, reference)
    expected = stats.ttest_ind(level, reference, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-6)
    bounds = tuple(expected.confidence_interval(0.95))
    interval = (found.interval.low, found.interval.high)
    assert interval == pytest.approx(bounds, rel=1e-6, abs=1e-7)


def test_too_few_values_have_no_test_and_equal_ones_no_difference() -> None:
    assert student([1.0]) == welch([1.0], [2.0, 3.0]) == Test(side=0, p=1.0)
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1.0
    assert welch([1.0, 1.0], [2.0, 2.0]).p == 0.0
    assert student([0.1 + 0.2 - 0.3] * 5).side == 0


@given(
    st.lists(st.integers(-10_000, 10_000).filter(bool), min_size=1, max_size=12, unique_by=abs),
)
def test_signed_ranks_are_exact(differences: list[int]) -> None:
    p = signed_rank([float(value) for value in differences]).p
    assert p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


@given(FIGURES, FIGURES)
def test_ranks_are_exact(a: list[float], b: list[float]) -> None:
    found = mann_whitney(b, a)
    if len(set(a + b)) == len(a + b):
        assert found.p == pytest.approx(stats.mannwhitneyu(b, a, method="exact").pvalue)
    back = mann_whitney(a, b)
    assert (back.side, back.p) == (-found.side, pytest.approx(found.p))


def test_ranks_with_ties_are_those_of_all_ways_to_deal_them() -> None:
    a, b = (1.0, 1.0, 2.0, math.inf), (2.0, math.inf, math.inf)
    ranks = stats.rankdata([*a, *b])
    sums, seen = [sum(some) for some in combinations(ranks, 3)], sum(ranks[4:])
    tail = min(sum(s >= seen for s in sums), sum(s <= seen for s in sums)) / len(sums)
    assert mann_whitney(b, a).p == pytest.approx(min(1, 2 * tail))
    assert mann_whitney([2.0] * 40, [1.0] * 40).p < 1e-6


def test_a_miss_ranks_beyond_every_time() -> None:
    found = signed_rank([0.1, -0.2, 0.3, math.inf, math.inf, math.inf, math.inf, math.inf])
    assert (found.side, found.p < 0.05) == (1, True)
    assert signed_rank([-math.inf] * 6) == Test(side=-1, p=pytest.approx(2 / 2**6))
    equal = Test(side=0, p=1.0)
    assert signed_rank([math.inf, -math.inf]) == signed_rank([0.0, 0.0]) == equal
    found = mann_whitney([math.inf] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.side, found.p) == (1, pytest.approx(2 / 252))
    assert mann_whitney([math.inf] * 5, [math.inf] * 5) == equal
    assert mann_whitney([1.0] * 200, [1.0] * 200) == equal


def false_claims(cells: int, seeds: int, spread: float, pages: int = 2000) -> float:
    """The share of pages of equal cells, of unequal spread, that call some worse than the best."""
    deviations = np.geomspace(1, spread, cells)
    values = np.random.default_rng(0).normal(0, deviations[:, None], (pages, cells, seeds))
    means, errors = values.mean(2), values.var(2, ddof=1) / seeds
    best = means.argmax(1)[:, None]
    difference = np.take_along_axis(means, best, 1) - means
    error = np.take_along_axis(errors, best, 1)
    freedom = (errors + error) ** 2 / ((errors**2 + error**2) / (seeds - 1))
    p = 2 * stats.t.sf(difference / np.sqrt(errors + error), freedom)
    np.put_along_axis(p, best, 1.0, 1)
    return float(np.mean([min(tamhane(sorted(page)[:-1])) < 0.05 for page in p]))


@pytest.mark.parametrize("spread", [1, 7])
@pytest.mark.parametrize("cells", [5, 20, 66])
def test_equal_cells_are_rarely_worse_than_the_best_of_them(cells: int, spread: float) -> None:
    assert false_claims(cells, 5, spread) <= 0.05


def test_the_detectable_difference_agrees_with_the_test() -> None:
    least = detectable(0.5, seeds=5, cells=20)
    noise = [-0.5, -0.5, 0.0, 0.5, 0.5]
    side = [0.5 * value / float(np.std(noise, ddof=1)) for value in noise]
    for factor, significant in ((1.01, True), (0.99, False)):
        p = welch([value + factor * least for value in side], side).p
        assert (tamhane([p] * 19)[0] < 0.05) == significant
    assert tamhane([1.0, 0.0]) == [1.0, 0.0]


def test_holm_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_only_ever_raises(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(one <= after <= 1 for one, after in zip(p_values, adjusted, strict=True))
    assert min(adjusted, default=0.0) == min(1.0, len(p_values) * min(p_values, default=0.0))
