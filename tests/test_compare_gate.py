"""`--fail-on`: a limit is broken only by what is worse by more than it says."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from bench.errors import UsageError
from bench.record import Record
from bench.report.compare import compared
from bench.report.compare_gate import OVERALL, Judgement, limit
from bench.report.compare_sides import Side
from bench.report.outcomes import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from tests.made_grid import made_grid


def grid(
    draw: int, seeds: int = 6, nets: Sequence[str] = ("cnn2", "cnn4"), **truth: Any
) -> list[Record]:
    return made_grid(
        lambda **_: truth, architecture=nets, optimizer=("sgd",), augmentation=("none",),
        seeds=seeds, draw=draw, percent=1.0, points=0.2,
    )  # fmt: skip


def judged(text: str, a: list[Record], b: list[Record], metric: Metric = SPEED) -> Judgement:
    sides = (Side(name=name, records=tuple(some)) for name, some in (("a", a), ("b", b)))
    (found,) = compared(*sides, metric, [limit(text, metric)]).judgements
    return found


@pytest.mark.parametrize(
    ("text", "metric", "looked_at", "null"),
    [
        ("slower:3%", SPEED, SPEED, math.log(0.97)),
        ("slower:3%", TRAIN, TRAIN, math.log(1.03)),
        (" slower:0.5 % ", TIME, TIME, math.log(1.005)),
        ("slower:3%", ACCURACY, SPEED, math.log(0.97)),
        ("slower:150%", TIME, TIME, math.log(2.5)),
        ("accuracy:0.5", SPEED, ACCURACY, -0.5),
        ("accuracy:0.5 points", SPEED, ACCURACY, -0.5),
        ("macro_f1:1", TIME, MACRO_F1, -1.0),
    ],
)
def test_limits_are_read(text: str, metric: Metric, looked_at: Metric, null: float) -> None:
    found = limit(text, metric)
    assert (found.metric, found.null) == (looked_at, pytest.approx(null))


@pytest.mark.parametrize(
    "text", ["", "slower", "slower:", "slower:3", "slower:-3%", "faster:3%", "accuracy:0.5%",
             "accuracy:x", "slower:nan%", "slower:3%,accuracy:1"],
)  # fmt: skip
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is malformed: write slower:3%"):
        limit(text, SPEED)
    with pytest.raises(UsageError, match="cannot fall by 100 %"):
        limit("slower:100%", SPEED)


@pytest.mark.parametrize(
    ("speed", "broken"), [(1000.0, 0), (985.0, 0), (950.0, 2), (900.0, 2), (1100.0, 0)]
)
def test_slower_by_more_than_the_limit_breaks_it(speed: float, broken: int) -> None:
    found = judged("slower:3%", grid(0), grid(1, images_per_s=speed))
    assert (len(found.broken), found.judged, found.too_few) == (broken, 2, 0)


def test_a_difference_that_is_told_may_be_within_the_limit() -> None:
    a, b = grid(0), grid(1, images_per_s=980.0)
    assert len(judged("slower:0%", a, b).broken) == 2
    assert not judged("slower:3%", a, b).broken


def test_times_and_scores_break_their_limits_too() -> None:
    a = grid(0)
    assert judged("slower:3%", a, grid(1, time_to_accuracy_s=3.3), TIME).broken
    assert judged("slower:3%", a, grid(1, time_to_accuracy_s=None), TIME).broken
    assert not judged("slower:3%", grid(0, time_to_accuracy_s=None), a, TIME).broken
    lower = grid(1, accuracy=0.59)
    assert judged("accuracy:0.5", a, lower).broken
    assert judged("macro_f1:0.5 points", a, lower).broken
    assert not judged("accuracy:1.5", a, lower).broken
    assert not judged("accuracy:0.5", lower, a).broken


def test_too_few_seeds_break_nothing_but_enough_cells_do() -> None:
    few = judged("slower:3%", grid(0, seeds=2), grid(1, seeds=2, images_per_s=500.0))
    assert (few.broken, few.judged, few.too_few) == ((), 0, 2)
    nets = [f"net{n}" for n in range(6)]
    found = judged("slower:3%", grid(0, 1, nets), grid(1, 1, nets, images_per_s=900.0))
    assert found.broken == (OVERALL,)
    a, b = grid(0, 1, nets), grid(1, 1, nets, images_per_s=975.0)
    assert judged("slower:0%", a, b).broken == (OVERALL,)
    assert judged("slower:5%", a, b).broken == ()


def test_a_limit_is_broken_by_chance_as_seldom_as_said() -> None:
    """All cells are slower by exactly the limit."""
    tries = 80
    broken = sum(
        bool(judged("slower:3%", grid(2 * n), grid(2 * n + 1, images_per_s=970.0)).broken)
        for n in range(tries)
    )
    assert broken <= 0.05 * tries + 2 * math.sqrt(0.05 * 0.95 * tries)
