"""The chi-square tests: correct, as powerful as documented, and rarely wrong in a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from pipelines import building
from pipelines.verification import made_images, statistics
from pipelines.verification.checks import POLICIES, verify
from pipelines.verification.readers import reader_for
from pipelines.verification.statistics import ALPHA, binned, fits, independent


@given(st.floats(0.0, 500.0), st.integers(1, 200))
def test_p_values_are_those_of_the_chi_square_distribution(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert statistics.p_value(statistic, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_dependent_sequences_are_detected() -> None:
    fair = np.random.default_rng(0).integers(0, 9, 4096)
    assert independent(fair[:-1], fair[1:])
    assert not independent(fair, (fair * 2) % 9)
    assert independent(fair, np.zeros(4096, dtype=np.int64))


def test_draws_are_compared_with_chances_and_with_other_draws() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.5, 0.3, 0.19, 0.0099, 0.0001, 0.0])
    many, few = (rng.multinomial(count, chances) for count in (20_000, 4096))
    assert fits(few, chances)
    assert fits(few, many)
    assert not fits(few[[1, 0, 2, 3, 4, 5]], chances)
    assert not fits(few[[1, 0, 2, 3, 4, 5]], many)
    impossible = few + np.array([0, 0, 0, 0, 0, 1])
    assert not fits(impossible, chances)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=600))
def test_classes_ascend_and_hold_about_as_many_each(values: list[int]) -> None:
    found = binned(np.array(values))
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    for value in set(values):
        assert len(set(found[np.array(values) == value])) == 1
    assert found.min() >= 0
    assert found.max() < statistics.MAX_CLASSES


def power(samples: int, true: NDArray[np.float64], declared: NDArray[np.float64]) -> float:
    """The chance that `fits` rejects: the statistic is noncentral chi-square."""
    shift = samples * float(((true - declared) ** 2 / declared).sum())
    freedom = len(declared) - 1
    return float(stats.ncx2.sf(stats.chi2.isf(ALPHA, freedom), freedom, shift))


def ends_at_half(count: int) -> NDArray[np.float64]:
    weights = np.ones(count)
    weights[[0, -1]] = 0.5
    return weights / weights.sum()


CROP = np.full(9, 1 / 9)
FAULTS = {
    "ends at half weight": (made_images.COUNT, ends_at_half(9), CROP),
    "an end missing": (made_images.COUNT, np.append(np.full(8, 1 / 8), 0), CROP),
    "a flip of 0.45": (2 * made_images.COUNT, np.array([0.55, 0.45]), np.array([0.5, 0.5])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_with_the_stated_power(fault: str) -> None:
    samples, true, declared = FAULTS[fault]
    assert power(samples, true, declared) > 0.999
    drawn = np.random.default_rng(0).multinomial(samples, true, size=1000)
    assert np.mean([not fits(counts, declared) for counts in drawn]) > 0.995  # the formula holds


def test_right_draws_are_rejected_as_often_as_alpha_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with as few samples to a class as there ever are; alpha is raised so that it shows."""
    monkeypatch.setattr(statistics, "ALPHA", 1e-2)
    rng = np.random.default_rng(0)
    tables = [independent(*rng.integers(0, 9, (2, 1024))) for _ in range(2000)]
    assert np.mean(tables) == pytest.approx(0.99, abs=0.007)
    skewed = np.array([0.9, 0.05, 0.03, 0.0175, 0.0025])
    counts = rng.multinomial(made_images.COUNT, skewed, size=2000)
    assert np.mean([fits(each, skewed) for each in counts]) == pytest.approx(0.99, abs=0.007)
    shared = [independent(*rng.integers(0, 16, (2, 128))) for _ in range(2000)]
    assert np.mean(shared) == pytest.approx(0.99, abs=0.007)


def made_for(op: str) -> int:
    """Probabilities, neighbours, another epoch by position and by sample, another seed; pairs."""
    reader = reader_for(POLICIES[op])
    count = len(reader.names)
    return 5 * count + (count * (count - 1) // 2 if reader.independent else 0)


def test_correct_pipelines_rarely_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    right = statistics.p_value

    def count(statistic: float, freedom: int) -> float:
        made.append(freedom)
        return right(statistic, freedom)

    monkeypatch.setattr(statistics, "p_value", count)
    for op in ("Crop, HorizontalFlip", "CutMix", "ColorJitter, pinned"):
        made.clear()
        assert verify("native[eager]", op, "cpu").status == "ok"
        assert len(made) == made_for(op)
    each = building.variants({"torchvision": ("workers=0", "")})
    assert 200 < sum(map(made_for, POLICIES)) < 300
    assert sum(map(made_for, POLICIES)) * len(each) * ALPHA < 1e-3
