"""The best cell is the one in bold in the matrix, and ties with it are named."""

from dataclasses import replace
from typing import Any

from bench.record import Record
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.matrix import build
from bench.report.render import shown
from bench.report.statistics.effects import (
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


def tied(found: Best) -> list[str]:
    return [label for label, p in found.p.items() if p >= 0.05]


def planted(architecture: str, **_: Any) -> dict[str, float | None]:
    ranks = {"cnn2": 0.60, "cnn4": 0.72, "resnet18": 0.60, "vgg11": 0.72, "vit": 0.50}
    return {
        "accuracy": ranks[architecture],
        "images_per_s": 1500.0 if architecture == "cnn2" else 1000.0,
        "time_to_accuracy_s": None if architecture == "vit" else 3.0,
    }


def few(**options: Any) -> list[Record]:
    return made_grid(planted, optimizer=("sgd",), augmentation=("none",), **options)


def test_cells_tied_with_the_best_are_named_as_often_as_claimed() -> None:
    found = of(few(seeds=5), ACCURACY)
    names = {found.outcome.cell.architecture, *(name.split("/")[0] for name in tied(found))}
    assert names == {"cnn4", "vgg11"}
    assert (len(found.p), found.uncompared) == (4, 0)
    lost = 0
    for draw in range(100):
        found = of(few(seeds=5, draw=draw, points=2.0), ACCURACY)
        kept = {found.outcome.label, *tied(found)}
        lost += not any(label.startswith("cnn4/") for label in kept)
    assert lost <= 10


def test_without_values_or_five_seeds_there_is_no_verdict() -> None:
    found = of(few(seeds=4), ACCURACY)
    assert (found.p, found.uncompared) == ({}, 4)
    records = [made_record(record={"throughput": None})]
    assert of(records, SPEED) is None
    found = of(records, ACCURACY)
    assert (found.p, found.uncompared) == ({}, 0)


def test_cells_that_missed_the_target_count_as_worse_however_many_there_are() -> None:
    nets = [f"net{number}" for number in range(66)]
    records = [
        made_record(seed, architecture=net, time_to_accuracy_s=3.0 if net == "net7" else None)
        for net in nets
        for seed in range(5)
    ]
    found = of(records, TIME)
    assert (found.missed, found.p) == (65, {})
    suspect = [
        replace(record, timing_suspect=("busy",)) if record.cell.architecture == "net1" else record
        for record in records
    ]
    assert of(suspect, TIME) == replace(found, outcome=of(suspect, TIME).outcome)  # type: ignore[union-attr]
    some = of([*records[:-1], replace(records[-1], metrics=records[7 * 5].metrics)], TIME)
    assert (some.missed, some.uncompared) == (64, 1)


def test_a_cell_that_missed_the_target_is_never_the_best() -> None:
    found = of(few(seeds=5), TIME)
    assert (found.missed, len(tied(found))) == (1, 3)
    assert of(made_grid(lambda **_: {"time_to_accuracy_s": None}), TIME) is None
    missed = made_record(architecture="vit", time_to_accuracy_s=None)
    assert [each.missed for each in [of([made_record(), missed], TIME)] if each] == [1]
    partly = [made_record(0, time_to_accuracy_s=1.0), made_record(1, time_to_accuracy_s=None)]
    slow = made_record(0, architecture="vit", time_to_accuracy_s=9.0)
    best_time = of([*partly, slow], TIME)
    assert best_time.outcome.cell.architecture == "vit"


def test_cells_with_failed_or_suspect_runs_are_neither_the_best_nor_dropped() -> None:
    records = few(seeds=5)
    better = made_grid(
        lambda **_: {"accuracy": 0.9}, architecture="x", optimizer=("sgd",), augmentation=("none",),
        seeds=5,
    )  # fmt: skip
    failed = made_failure(9, architecture="x", optimizer="sgd", augmentation="none")
    found = of([*records, *better, failed], ACCURACY)
    assert found.outcome.cell.architecture in {"cnn4", "vgg11"}
    assert (tied(found)[0], found.lead < 0) == ("x/sgd/none/kornia", True)
    busy = made_record(architecture="x", images_per_s=9e9, record={"timing_suspect": ("busy",)})
    found = of([made_record(), busy], SPEED)
    assert (found.outcome.cell.architecture, found.uncompared) == ("resnet18", 1)


def test_the_best_cell_is_bold_in_the_matrix() -> None:
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
        assert [frame["architecture"][index] for index in bold[metric.name]] == [
            found.outcome.cell.architecture
        ]


def groups(records: list[Record], metric: Metric) -> dict[str, int]:
    (outcomes,) = outcomes_by_group(records).values()
    return {words: len(cells) for words, cells in ranking_groups(outcomes, metric)}


def test_settings_are_ranked_separately_and_targets_for_times_only() -> None:
    records = [made_record(), made_record(width=0.5), made_record(epochs=9)]
    assert groups(records, ACCURACY) == {"width 0.25": 2, "width 0.5": 1}
    records = [made_record(target_accuracy=target) for target in (0.9401, 0.9404)]
    assert groups(records, ACCURACY) == {"": 2}
    assert groups(records, TIME) == {"target 94.01 %": 1, "target 94.04 %": 1}
    found = of(records, ACCURACY)
    labels = {outcome.label for outcome in outcomes_by_group(records).popitem()[1]}
    assert found.uncompared == 1
    assert labels == {
        f"resnet18/sgd/flip_crop/kornia (target {100 * target:g} %)" for target in (0.9401, 0.9404)
    }
