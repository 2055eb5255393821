"""Schedules: they rise to one, go down as they say, and never leave their range."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.schedules import DECAY, SCHEDULES

every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@given(
    name=st.sampled_from(list(SCHEDULES)),
    progress=st.floats(0, 1),
    warmup=st.floats(0, 0.95),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
)
def test_factors_stay_in_range_and_change_little_at_a_time(
    name: str, progress: float, warmup: float, start: float, end: float
) -> None:
    def factor(at: float) -> float:
        return SCHEDULES[name].factor(at, warmup=warmup, start=start, end=end)

    assert math.isfinite(factor(progress))
    assert (start if progress < warmup else end) - 1e-9 <= factor(progress) <= 1 + 1e-9
    assert factor(warmup) == pytest.approx(1.0)
    assert factor(1.0) == pytest.approx(1.0 if name == "constant" else end)
    if warmup > 0:
        assert factor(0.0) == pytest.approx(start)
    steepest = 1 / min(DECAY, 1 - warmup, warmup or 1)
    assert abs(factor(min(1.0, progress + 1e-6)) - factor(progress)) < 1e-5 * max(1.0, steepest)


def test_shapes() -> None:
    one_cycle, cosine, wsd, constant = (
        SCHEDULES[name].factor for name in ("one_cycle", "cosine", "wsd", "constant")
    )
    assert one_cycle(0.6, warmup=0.2) == pytest.approx(0.5)
    assert one_cycle(0.1, warmup=0.2, start=0.0) == pytest.approx(0.5)
    assert cosine(0.3, warmup=0.0) == pytest.approx((1 + math.cos(0.3 * math.pi)) / 2)
    assert wsd(0.79, warmup=0.1) == 1.0
    assert wsd(0.9, warmup=0.1) == pytest.approx(0.5)
    assert wsd(0.95, warmup=0.9) == pytest.approx(0.5)
    assert constant(0.99, warmup=0.1) == 1.0


@every_schedule
def test_entries_say_what_they_are_for(name: str) -> None:
    entry = SCHEDULES[name]
    assert entry.name == name
    assert entry.why.endswith(".")
    assert "http" in entry.reference
