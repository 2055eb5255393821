"""How long the runs that are left will take, and how durations are written."""

import pytest

from bench.executors.base import TimeLeft, duration
from bench.record import Timings
from tests.made import made_failure, made_record, made_run


def learned(*durations_s: float) -> TimeLeft:
    left = TimeLeft()
    for seed, total_s in enumerate(durations_s):
        left.learn(made_record(seed, record={"timings": Timings(total_s=total_s)}))
    return left


def test_an_estimate_comes_from_the_most_similar_finished_runs() -> None:
    """Each made run takes 2 s and 1 s per epoch, unless said otherwise."""
    run, alike = made_run(epochs=8), made_run(architecture="vgg11", epochs=8)
    other = made_record(architecture="vgg11", epochs=10)
    left = TimeLeft({other.run_id: 10.0, run.id: 40.0})
    assert left.of(run) is None
    left.learn(made_failure(architecture="vgg11"))
    assert left.of(run) is None
    left.learn(other)
    assert left.of(run) == pytest.approx(2 + 40)
    assert left.of(alike) == pytest.approx(2 + 8)
    assert left.of(made_run(architecture="unknown")) is None
    left.learn(made_record(pipeline="dali", record={"timings": Timings(train_s=8, total_s=9)}))
    assert left.of(run) == pytest.approx(1 + 8 * 2)
    left.learn(made_record(epochs=2))
    assert left.of(run) == pytest.approx(2 + 8)
    assert left.of(alike) == pytest.approx(2 + 8)
    assert TimeLeft().of_all([made_run()]) is None
    assert learned(100.0).of_all([]) is None


# Seconds that scale with the work, and the work, of the nets of a grid on two cores, in its order.
NETS = {
    "convmixer": (3.8, 78.0), "cnn4": (0.5, 14.5), "cnn6": (1.4, 26.5), "resnet18": (2.9, 83.0),
    "vgg11_bn": (1.2, 22.6), "vit_tiny": (7.0, 143.0),
}  # fmt: skip


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.7])
def test_the_time_left_of_a_grid_of_unequal_nets_is_right_within_a_factor(share: float) -> None:
    records = [
        made_record(seed, architecture=net, record={"timings": Timings(train_s=s, total_s=s + 0.6)})
        for net, (s, _) in NETS.items()
        for seed in range(9)
    ]
    left = TimeLeft({record.run_id: NETS[record.cell.architecture][1] for record in records})
    finished = max(1, round(share * len(records)))
    for record in records[:finished]:
        left.learn(record)
    waiting = records[finished:]
    found = left.of_all([record.run for record in waiting])
    assert found is not None
    assert 1 / 1.5 < found / sum(record.timings.total_s for record in waiting) < 1.5


@pytest.mark.parametrize(
    ("seeds", "elapsed_s", "left_s"),
    [
        (8, [], 800.0),
        (8, [90.0] * 8, 10.0),
        (5, [90.0, 50.0], (10 + 50 + 300) / 2),
        (2, [130.0], 100.0),  # the one that takes longer than expected is about to end
    ],
)
def test_runs_are_shared_out_to_workers(seeds: int, elapsed_s: list[float], left_s: float) -> None:
    runs = [made_run(seed) for seed in range(seeds)]
    elapsed = {run.id: seconds for run, seconds in zip(runs, elapsed_s, strict=False)}
    assert learned(100.0).of_all(runs, elapsed) == pytest.approx(left_s)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3661, "1 h 01 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
