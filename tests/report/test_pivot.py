"""Means over axes and pivot tables: right figures, misses and failures counted, nothing mixed."""

import csv
import json
import math
import statistics
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.record import Record
from bench.report.matrix import build, retarget
from bench.report.render import Form
from bench.report.table import (
    Grouping,
    Pivot,
    Shape,
    averaged,
    footings,
    pivoted,
    render_all,
    shape,
)
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_failure, made_record

NETS, OPTIMIZERS = ("cnn4", "resnet18"), ("muon", "sgd")


def square(**changes: Any) -> list[Record]:
    """Two nets by two optimizers: accuracies .1, .2, .3 and .4."""
    return [
        made_record(accuracy=(1 + 2 * row + column) / 10, architecture=net, optimizer=optimizer,
                    **changes)
        for row, net in enumerate(NETS)
        for column, optimizer in enumerate(OPTIMIZERS)
    ]  # fmt: skip


def means(records: list[Record], *axes: str) -> tuple[list[dict[str, Any]], list[str]]:
    frame, notes = averaged(build(records).frame, axes)
    return frame.to_dict(orient="records"), notes


def tables(tmp_path: Path, records: list[Record], form: Form, of: Shape, **options: Any) -> str:
    store = Store(tmp_path / "group")
    for record in records:
        store.write(record)
    return render_all(tmp_path, form, shape=of, **options)


def test_a_mean_is_that_of_its_cells() -> None:
    rows, notes = means(square(), "architecture")
    found = {row["architecture"]: row["accuracy"] for row in rows}
    assert found == {"cnn4": pytest.approx(0.15), "resnet18": pytest.approx(0.35)}
    assert {(row["cells"], row["all_cells"]) for row in rows} == {(2, 2)}
    assert notes[0].startswith("means over optimizer, augmentation, pipeline: 2 cells each")
    assert not any("caution" in note for note in notes)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_cell_weighs_alike_whatever_its_seeds(cells: list[list[float]]) -> None:
    records = [
        made_record(seed, accuracy=value, architecture=f"net{index}")
        for index, values in enumerate(cells)
        for seed, value in enumerate(values)
    ]
    ((row,), _) = means(records, "pipeline")
    assert row["accuracy"] == pytest.approx(statistics.fmean(map(statistics.fmean, cells)))
    assert row["seeds"] == sum(map(len, cells))


def test_all_axes_give_the_matrix_back_with_its_deviations() -> None:
    records = [made_record(seed, accuracy=0.5 + seed / 10) for seed in range(3)]
    ((row,), notes) = means(records, "architecture", "optimizer", "augmentation", "pipeline")
    assert row["accuracy_sd"] == pytest.approx(0.1)
    assert notes == []


def test_a_missed_target_counts_and_sorts_last() -> None:
    records = [
        made_record(architecture="a", optimizer="x", time_to_accuracy_s=1.0),
        made_record(architecture="a", optimizer="y", time_to_accuracy_s=None),
        made_record(architecture="b", optimizer="x", time_to_accuracy_s=5.0),
        made_record(architecture="b", optimizer="y", time_to_accuracy_s=7.0),
        made_record(architecture="c", optimizer="x", time_to_accuracy_s=None),
        made_record(architecture="c", optimizer="y", time_to_accuracy_s=None),
    ]
    rows, _ = means(records, "architecture")
    assert [row["architecture"] for row in rows] == ["b", "a", "c"]
    assert [row["time_to_accuracy_s"] for row in rows[:2]] == [6.0, 1.0]
    assert math.isnan(rows[2]["time_to_accuracy_s"])
    assert [(row["reached"], row["seeds"]) for row in rows] == [(2, 2), (1, 2), (0, 2)]


def test_what_missed_is_said_and_never_the_best(tmp_path: Path) -> None:
    records = [
        made_record(architecture="a", optimizer="x", time_to_accuracy_s=1.0),
        made_record(architecture="a", optimizer="y", time_to_accuracy_s=None),
        made_record(architecture="b", optimizer="x", time_to_accuracy_s=5.0),
        made_record(architecture="c", optimizer="x", time_to_accuracy_s=None),
    ]
    text = tables(tmp_path, records, "md", Grouping(axes=("architecture",)))
    assert "1.0 (1/2 reached)" in text
    assert "**5.0**" in text
    assert "not reached" in text
    assert "caution: the means are over different combinations of" in text


def test_a_failed_cell_counts_but_is_in_no_mean(tmp_path: Path) -> None:
    records = [made_record(accuracy=0.5), made_failure(architecture="vit", status="oom")]
    ((row,), _) = means(records, "pipeline")
    assert (row["cells"], row["all_cells"], row["accuracy"]) == (1, 2, 0.5)
    text = tables(tmp_path, records, "md", Grouping(axes=("pipeline",)))
    assert "| 1/2 |" in " ".join(text.split())
    assert "1 of 2 cells ok: RuntimeError: it broke" in text


def test_nothing_that_differs_in_budget_is_averaged(tmp_path: Path) -> None:
    records = [*square(), *square(epochs=9), *square(precision="bf16"), *square(train_images=500)]
    assert sorted(map(len, footings(records))) == [4, 4, 4, 4]
    text = tables(tmp_path, records, "md", Grouping(axes=("architecture",)))
    assert text.count("###") == 4
    for said in ("4 epochs | fp32", "9 epochs | fp32", "bf16"):
        assert said in text


def test_runs_of_another_machine_or_torch_are_a_table_of_their_own() -> None:
    other = [
        replace(record, environment=record.environment | {"torch": "2.99"}) for record in square()
    ]
    assert len(footings([*square(), *other])) == 2


def test_batch_sizes_may_differ_within_a_mean_and_are_said() -> None:
    records = [made_record(optimizer="sgd"), made_record(optimizer="adamw", batch_size=32)]
    (_, notes) = means(records, "architecture")
    assert notes[-1] == "cells within a mean also differ in batch 100, batch 32"
    (_, notes) = means(records, "optimizer")
    assert not any("differ" in note for note in notes)


def test_a_pivot_table_has_each_figure_in_its_place(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "csv", Pivot())
    rows = {row["architecture"]: row for row in csv.DictReader(StringIO(text))}
    assert float(rows["cnn4"]["muon"]) == pytest.approx(0.1)
    assert float(rows["cnn4"]["sgd"]) == pytest.approx(0.2)
    assert float(rows["resnet18"]["muon"]) == pytest.approx(0.3)
    assert float(rows["resnet18"]["sgd"]) == pytest.approx(0.4)
    assert rows["cnn4"]["machine"] == "AMD EPYC, 2 cores"


def test_the_best_of_a_whole_pivot_table_is_bold_once(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "md", Pivot())
    assert text.count("**") == 2
    assert "**40.00**" in text
    assert text.startswith("### accuracy %, architecture x optimizer | AMD EPYC")
    slow = tables(tmp_path, square(), "md", Pivot(metric="train_s"))
    assert slow.count("**4.0**") == 4  # all alike


def test_a_pivot_table_says_what_there_is_not(tmp_path: Path) -> None:
    records = [
        made_record(0, time_to_accuracy_s=2.0),
        made_record(1, time_to_accuracy_s=4.0),
        made_record(optimizer="muon", time_to_accuracy_s=None),
        made_failure(architecture="vit", optimizer="muon", status="oom"),
    ]
    of = Pivot(metric="time_to_accuracy_s", axes=("optimizer", "architecture"))
    lines = tables(tmp_path, records, "md", of).splitlines()
    cells = {line.split("|")[1].strip(): [part.strip() for part in line.split("|")[2:4]]
             for line in lines if line.startswith("| ")}  # fmt: skip
    assert cells["sgd"] == ["**3.0 \u00b1 1.4**", "-"]
    assert cells["muon"] == ["not reached", "oom"]
    (table,) = json.loads(tables(tmp_path, records, "json", of))
    assert table["rows"][0]["optimizer"] == "muon"
    assert table["rows"][0]["vit"] == "oom"
    assert table["rows"][1]["vit"] is None
    assert table["rows"][1]["resnet18"] == 3.0


def test_an_entry_says_of_how_many_cells_it_is_when_some_failed() -> None:
    records = [
        made_record(accuracy=0.5, pipeline="kornia"),
        made_failure(pipeline="dali"),
        made_record(optimizer="muon"),
    ]
    table = pivoted(build(records).frame, Pivot(axes=("architecture", "optimizer")))
    assert table.pivot.cells["sgd"] == ["50.00 (1/2 cells)"]


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        (["architecture", "optimizer", "pipeline"], ("architecture", "optimizer")),
        (["optimizer", "pipeline"], ("optimizer", "pipeline")),
        (["architecture", "augmentation"], ("architecture", "augmentation")),
        (["pipeline"], ("architecture", "pipeline")),
        ([], ("architecture", "optimizer")),
    ],
)
def test_axes_that_differ_are_chosen(changes: list[str], axes: tuple[str, str]) -> None:
    records = [made_record(), *(made_record(**{axis: "another"}) for axis in changes)]
    assert pivoted(build(records).frame, Pivot()).title.endswith(f", {axes[0]} x {axes[1]}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"group": ["optimiser"]}, "unknown axis 'optimiser': did you mean optimizer"),
        ({"pivot": ["architecture", "nets"]}, "unknown axis 'nets'"),
        ({"pivot": ["architecture"]}, "takes two axes, ROW,COLUMN"),
        ({"pivot": ["pipeline", "pipeline"]}, "takes two axes, ROW,COLUMN"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy': did you mean accuracy"),
        ({"metric": "accuracy", "group": ["pipeline"]}, "exclude each other"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shape(**{"group": None, "metric": None, "pivot": None} | asked)


def test_shapes_are_told_apart() -> None:
    assert shape(group=None, metric=None, pivot=None) is None
    assert shape(group=["pipeline", "architecture"], metric=None, pivot=None) == Grouping(
        axes=("architecture", "pipeline")
    )
    assert shape(group=None, metric=None, pivot=["pipeline", "optimizer"]) == Pivot(
        metric="accuracy", axes=("pipeline", "optimizer")
    )


@pytest.mark.parametrize("options", [{"sort_by": "accuracy"}, {"columns": ["accuracy"]}])
def test_a_pivot_table_takes_no_columns(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave"):
        tables(tmp_path, square(), "md", Pivot(), **options)


def test_means_can_be_sorted_and_their_columns_chosen(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "csv", Grouping(axes=("optimizer",)), sort_by="accuracy",
                  columns=["optimizer", "cells", "accuracy"])  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == "optimizer,cells,accuracy"
    assert [line.partition(",")[0] for line in lines[1:]] == ["sgd", "muon"]
    with pytest.raises(UsageError, match="unknown column 'architecture'"):
        tables(tmp_path, square(), "md", Grouping(axes=("optimizer",)), columns=["architecture"])


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
@pytest.mark.parametrize("of", [Grouping(axes=("pipeline",)), Pivot()])
def test_tables_in_which_nothing_ended_well_have_every_form(
    tmp_path: Path, form: Form, of: Shape
) -> None:
    records = [made_failure(0, status="oom"), made_failure(1, architecture="vit", status="oom")]
    text = tables(tmp_path, records, form, of)
    assert "oom" in text or "0 of 2 cells ok" in text
    assert "nan" not in text.lower().replace("nano", "")


def test_another_target_is_read_from_the_curves() -> None:
    record = made_record(
        accuracy=0.8, epochs=4
    )  # a straight line: 0.2, 0.4, 0.6, 0.8 at 1, 2, 3, 4 s
    for target, reached_s in ((0.1, 1.0), (0.2, 1.0), (0.5, 3.0), (0.8, 4.0), (0.81, None)):
        ((found,), note) = retarget([record], target).records, retarget([record], target).note
        assert found.metrics is not None
        assert found.metrics.time_to_accuracy_s == reached_s
        assert found.cell.target_accuracy == target
        assert f"{target:.1%}" in note
        assert "60.0%" in note


@given(st.floats(0.01, 1), st.floats(0, 9), st.floats(0, 9))
def test_the_own_target_gives_the_own_time_and_first_costs_are_added(
    target: float, compile_s: float, first_batch_s: float
) -> None:
    made = made_record(accuracy=1.0, target_accuracy=target)
    record = replace(made, timings=replace(made.timings, compile_s=compile_s,
                                           first_batch_s=first_batch_s))  # fmt: skip
    (found,) = retarget([record], target).records
    expected = next(p.train_s for p in record.curve if (p.validation_accuracy or 0) >= target)
    assert found.metrics is not None
    assert found.metrics.time_to_accuracy_s == expected
    assert found.metrics.time_to_accuracy_with_compile_s == expected + (compile_s + first_batch_s)


def test_the_reference_records_keep_their_times_under_their_own_target() -> None:
    folder = ROOT / "results" / "reference"
    records = [r for path in sorted(folder.glob("*/records")) for r in Store(path.parent).records()]
    assert records
    for record in records:
        (same,) = retarget([record], record.cell.target_accuracy).records
        assert same.metrics is not None
        assert record.metrics is not None
        assert same.metrics.time_to_accuracy_s == record.metrics.time_to_accuracy_s
        assert same.metrics.time_to_accuracy_with_compile_s == pytest.approx(
            record.metrics.time_to_accuracy_with_compile_s
        )


def test_runs_that_differ_in_their_target_only_do_not_count_twice() -> None:
    older = made_record(target_accuracy=0.5, record={"finished": "2026-01-01"})
    newer = made_record(target_accuracy=0.6, record={"finished": "2026-01-02"})
    failed = made_failure(target_accuracy=0.7)
    found = retarget([failed, newer, older], 0.4)
    assert [record.run_id for record in found.records] == [newer.run_id]
    assert "2 runs that differed" in found.note
    assert "left out" not in retarget([newer], 0.4).note


@pytest.mark.parametrize("target", [0.0, -1.0, 90.0, math.nan])
def test_a_target_is_a_share(target: float) -> None:
    with pytest.raises(UsageError, match=r"share in \(0, 1\]"):
        retarget([made_record()], target)


def test_a_run_that_failed_and_one_without_validation_reach_no_target() -> None:
    failed, blind = made_failure(), made_record(protocol="speedrun")
    blind = replace(blind, curve=tuple(replace(p, validation_accuracy=None) for p in blind.curve))
    found = retarget([failed, blind], 0.1).records
    assert {record.status for record in found} == {"ok", "crashed"}
    assert all(r.metrics is None or r.metrics.time_to_accuracy_s is None for r in found)


def test_a_target_is_said_in_title_and_caption(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "md", None, target=0.05)
    assert "target 5.0% validation accuracy" in text.splitlines()[0]
    assert "recalculated from the curves for 5.0% validation accuracy" in text
