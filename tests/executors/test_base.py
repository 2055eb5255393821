"""How long the runs that are left will take, and how durations are written."""

import pytest

from bench.executors.base import TimeLeft, duration
from bench.record import Timings
from tests.made import made_failure, made_record, made_run


def learned(*durations_s: float) -> TimeLeft:
    """An estimate from finished runs that took so long."""
    left = TimeLeft()
    for seed, total_s in enumerate(durations_s):
        left.learn(made_record(seed, record={"timings": Timings(total_s=total_s)}))
    return left


def test_an_estimate_comes_from_the_most_similar_finished_runs() -> None:
    left = TimeLeft()
    run = made_run(epochs=8)
    assert left.of(run) is None
    left.learn(made_failure(architecture="vgg11"))
    assert left.of(run) is None
    left.learn(made_record(architecture="vgg11", epochs=10))  # 12 s
    assert left.of(run) == pytest.approx(8 * 1.2)
    left.learn(made_record(pipeline="dali", epochs=4))  # 6 s
    assert left.of(run) == pytest.approx(8 * 1.5)
    left.learn(made_record(epochs=2))  # 4 s
    assert left.of(run) == pytest.approx(8 * 2.0)
    assert left.of(made_run(architecture="vgg11")) == pytest.approx(4 * 1.2)


def test_eight_runs_at_once_end_together() -> None:
    runs = [made_run(seed) for seed in range(8)]
    left = learned(100.0)
    assert left.of_all(runs, {run.id: 90.0 for run in runs}) == pytest.approx(10.0)
    assert left.of_all(runs) == pytest.approx(800.0)


def test_runs_that_wait_are_shared_out_over_the_workers() -> None:
    runs = [made_run(seed) for seed in range(5)]
    elapsed_s = {runs[0].id: 90.0, runs[1].id: 50.0}
    assert learned(100.0).of_all(runs, elapsed_s) == pytest.approx((10 + 50 + 300) / 2)


def test_a_run_that_takes_longer_than_expected_counts_as_about_to_end() -> None:
    runs = [made_run(seed) for seed in range(2)]
    assert learned(100.0).of_all(runs, {runs[0].id: 130.0}) == pytest.approx(100.0)


def test_nothing_is_known_without_a_finished_run() -> None:
    assert TimeLeft().of_all([made_run()]) is None
    assert learned(100.0).of_all([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3661, "1 h 01 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
