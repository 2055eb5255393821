"""The best cell is the one in bold in the matrix, and ties with it are named."""

from dataclasses import replace
from typing import Any

import pytest

from bench.record import Record
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.matrix import build
from bench.report.render import shown
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    Best,
    best,
    outcomes_by_group,
    ranking_groups,
)
from tests.made import made_failure, made_record
from tests.made_grid import made_grid


def of(records: list[Record], metric: Metric) -> Best | None:
    (outcomes,) = outcomes_by_group(records).values()
    return best(outcomes, metric)


def planted(architecture: str, **_: Any) -> dict[str, float | None]:
    ranks = {"cnn2": 0.60, "cnn4": 0.72, "resnet18": 0.60, "vgg11": 0.72, "vit": 0.50}
    return {
        "accuracy": ranks[architecture],
        "images_per_s": 1500.0 if architecture == "cnn2" else 1000.0,
        "time_to_accuracy_s": None if architecture == "vit" else 3.0,
    }


def few(**options: Any) -> list[Record]:
    return made_grid(planted, optimizer=("sgd",), augmentation=("none",), **options)


def test_cells_tied_with_the_best_are_named() -> None:
    found = of(few(seeds=5), ACCURACY)
    assert found is not None
    names = {found.outcome.cell.architecture, *(name.split("/")[0] for name in found.tied)}
    assert names == {"cnn4", "vgg11"}
    assert (found.worse, found.too_few, found.others) == (3, 0, 4)


def test_the_true_best_is_kept_as_often_as_claimed() -> None:
    lost = 0
    for draw in range(100):
        found = of(few(seeds=5, draw=draw, points=2.0), ACCURACY)
        assert found is not None
        kept = {found.outcome.label, *found.tied}
        lost += not any(label.startswith("cnn4/") for label in kept)
    assert lost <= 10


def test_fewer_than_five_seeds_tell_nothing() -> None:
    found = of(few(seeds=4), ACCURACY)
    assert found is not None
    assert (found.worse, found.tied, found.too_few) == (0, (), 4)
    assert found.test_images == 100
    assert found.margin == pytest.approx(196 * (found.value * (100 - found.value)) ** 0.5 / 1000)
    assert found.near == 1


def test_a_miss_is_worse_than_any_time_and_never_the_best() -> None:
    found = of(few(seeds=5), TIME)
    assert found is not None
    assert (found.worse, found.missed, len(found.tied)) == (1, 1, 3)
    assert of(made_grid(lambda **_: {"time_to_accuracy_s": None}), TIME) is None
    partly = [made_record(0, time_to_accuracy_s=1.0), made_record(1, time_to_accuracy_s=None)]
    slow = made_record(0, architecture="vit", time_to_accuracy_s=9.0)
    best_time = of([*partly, slow], TIME)
    assert best_time is not None
    assert best_time.outcome.cell.architecture == "vit"


def test_it_is_what_the_matrix_sets_in_bold() -> None:
    records = [
        *few(seeds=2),
        made_failure(2, architecture="cnn4", augmentation="none"),
        replace(
            made_record(architecture="x", images_per_s=9e9, time_to_accuracy_s=0.1),
            timing_suspect=("busy",),
        ),
    ]
    frame = build(records).frame
    _, bold = shown(frame, [metric.name for metric in EFFECT_METRICS])
    for metric in EFFECT_METRICS:
        found = of(records, metric)
        assert found is not None
        assert [frame["architecture"][index] for index in bold[metric.name]] == [
            found.outcome.cell.architecture
        ]


def test_settings_are_ranked_apart() -> None:
    records = [made_record(), made_record(width=0.5), made_record(epochs=9)]
    (outcomes,) = outcomes_by_group(records).values()
    assert {words: len(cells) for words, cells in ranking_groups(outcomes).items()} == {
        "width 0.25": 2,
        "width 0.5": 1,
    }


def test_no_figures_no_best() -> None:
    records = [made_record(record={"throughput": None})]
    assert of(records, SPEED) is None
    found = of(records, ACCURACY)
    assert found is not None
    assert found.others == 0
