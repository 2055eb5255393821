"""Another target: times to accuracy from the recorded curves."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.store.retarget import retarget
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_failure, made_record


def test_another_target_uses_the_curves() -> None:
    record = made_record(accuracy=0.8)  # 0.2, 0.4, 0.6, 0.8 at 1, 2, 3, 4 s
    for target, reached_s in ((0.1, 1.0), (0.2, 1.0), (0.5, 3.0), (0.8, 4.0), (0.81, None)):
        ((found,), note) = retarget([record], target)
        assert found.metrics.time_to_accuracy_s == reached_s
        assert found.cell.target_accuracy == target
        assert f"{target:.1%}" in note
        assert "60.0%" in note


@given(st.floats(0.01, 1), st.floats(0, 9), st.floats(0, 9))
def test_its_own_target_keeps_times(target: float, compile_s: float, first_batch_s: float) -> None:
    made = made_record(accuracy=1.0, target_accuracy=target)
    record = replace(made, timings=replace(made.timings, compile_s=compile_s,
                                           first_batch_s=first_batch_s))  # fmt: skip
    ((found,), _) = retarget([record], target)
    expected = next(p.train_s for p in record.curve if (p.validation_accuracy or 0) >= target)
    assert found.metrics.time_to_accuracy_s == expected
    assert found.metrics.time_to_accuracy_with_compile_s == expected + (compile_s + first_batch_s)


def test_reference_records_keep_their_times_for_their_original_target() -> None:
    folder = ROOT / "results" / "reference"
    records = [r for path in sorted(folder.glob("*/records")) for r in Store(path.parent).records()]
    assert records
    for record in records:
        ((same,), _) = retarget([record], record.cell.target_accuracy)
        assert same.metrics.time_to_accuracy_s == record.metrics.time_to_accuracy_s
        assert same.metrics.time_to_accuracy_with_compile_s == pytest.approx(
            record.metrics.time_to_accuracy_with_compile_s
        )


def test_runs_that_differ_only_in_target_count_once_and_failed_ones_reach_none() -> None:
    older = made_record(target_accuracy=0.5, record={"finished": "2026-01-01"})
    newer = made_record(target_accuracy=0.6, record={"finished": "2026-01-02"})
    failed = made_failure(target_accuracy=0.7)
    found, note = retarget([failed, newer, older], 0.4)
    assert [record.run_id for record in found] == [newer.run_id]
    assert "2 runs that differed" in note
    assert "left out" not in retarget([newer], 0.4)[1]
    failed, blind = made_failure(), made_record(protocol="speedrun")
    blind = replace(blind, curve=tuple(replace(p, validation_accuracy=None) for p in blind.curve))
    found, _ = retarget([failed, blind], 0.1)
    assert {record.status for record in found} == {"ok", "crashed"}
    assert all(r.metrics is None or r.metrics.time_to_accuracy_s is None for r in found)


@pytest.mark.parametrize("target", [0.0, -1.0, 90.0, math.nan])
def test_a_target_is_a_share(target: float) -> None:
    with pytest.raises(UsageError, match=r"share in \(0, 1\]"):
        retarget([made_record()], target)
