"""`bench table`: a table per group, means over axes and pivot tables, in each format."""

import csv
import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pytest

from bench.errors import UsageError
from bench.record import Record
from bench.report.columns import METRICS
from bench.report.figures.heatmaps import tiles
from bench.report.matrix import PARTIAL, Matrix, averaged, build, sort
from bench.report.render import Form, shown
from bench.report.table import (
    Pivot,
    Shape,
    footings,
    pivoted,
    render,
    render_all,
    shape,
    write_matrix,
)
from bench.store.store import Store
from tests.made import ENVIRONMENT, made_failure, made_record, write_records

NETS, OPTIMIZERS = ("cnn4", "resnet18"), ("muon", "sgd")


def order_of(matrix: Matrix, **options: Any) -> list[str]:
    text = render(matrix, "csv", **options)
    return [row["architecture"] for row in csv.DictReader(StringIO(text))]


def test_columns_and_order_can_be_chosen() -> None:
    records = [
        made_record(architecture="a", accuracy=0.8, images_per_s=100.0),
        made_record(architecture="b", accuracy=0.7, images_per_s=200.0),
    ]
    matrix = build(records)
    assert order_of(matrix, sort_by="images_per_s") == ["b", "a"]
    assert order_of(matrix, sort_by="accuracy") == ["a", "b"]
    assert order_of(matrix, sort_by="train_s") == ["a", "b"]
    text = render(matrix, "csv", columns=["pipeline", "accuracy"])
    assert text.splitlines()[0] == "pipeline,accuracy"
    assert "accuracy %" in render(matrix, "md", columns=["architecture", "accuracy"])
    assert "macro" not in render(matrix, "md", columns=["architecture", "accuracy"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sort_by": "acuracy"}, "did you mean accuracy"),
        ({"columns": ["acuracy"]}, "did you mean accuracy"),
        ({"columns": ["acuracy"], "form": "csv"}, "did you mean accuracy"),
        ({"form": "cvs"}, "did you mean csv"),
    ],
)
def test_unknown_names_get_a_suggestion(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        render(build([made_record()]), **options)


def test_matrix_files_are_written_beside_the_records(tmp_path: Path) -> None:
    store = Store(write_records(tmp_path, [made_record(), made_failure(architecture="vit")]))
    path = write_matrix(store, store.records())
    assert path == tmp_path / "matrix.md"
    rows = list(csv.DictReader(StringIO((tmp_path / "matrix.csv").read_text())))
    assert [row["architecture"] for row in rows] == ["resnet18", "vit"]
    assert path.read_text() == render(build(store.records()), "md")


def test_a_table_for_each_group_and_the_reference_only_if_there_is_no_other(tmp_path: Path) -> None:
    write_records(tmp_path / "here_shapes_cpu", [made_record(architecture="ours")])
    write_records(tmp_path / "reference" / "there_shapes_cpu", [made_record(architecture="theirs")])
    write_records(tmp_path / "other_shapes_cpu", [made_record(architecture="second")])
    text = render_all(tmp_path, "md", machine=["other"])
    assert text.count("###") == 2
    assert text.index("second") < text.index("ours")
    assert f"1 run of the reference matrices (bench table {tmp_path / 'reference'})" in text
    for root, expected in ((tmp_path, ["ours", "second"]), (tmp_path / "reference", ["theirs"])):
        rows = list(csv.DictReader(StringIO(render_all(root, "csv"))))
        assert [row["architecture"] for row in rows] == expected
        tables = json.loads(render_all(root, "json"))
        assert [row["architecture"] for table in tables for row in table["rows"]] == expected
    assert "### reference" in render_all(tmp_path, "md", expression="theirs")


def test_answers_are_above_a_matrix_and_what_all_rows_share_is_in_its_title(tmp_path: Path) -> None:
    for form in get_args(Form):
        assert ("Best optimizer" in tables(tmp_path, square(), form)) is (form != "csv")
    (found,) = json.loads(tables(tmp_path, square(), "json"))
    assert found["answers"][2]["entry"] == "sgd"
    title, _, *lines = tables(tmp_path, square(), "rich").splitlines()
    assert "augmentation flip_crop | pipeline kornia" in title
    assert not any("augmentation" in line for line in lines if "Best" not in line)
    for options in ({"of": Pivot()}, {"columns": ["accuracy"]}):
        assert "Best optimizer" not in tables(tmp_path, square(), "md", **options)


def test_damaged_files_are_reported_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "group", [made_record(), made_record(optimizer="muon")])
    Store(folder).record_path("bad").write_bytes(b"{")
    (folder / "loaders.json").write_bytes(b"{")
    warnings: list[str] = []
    assert "muon" in render_all(tmp_path, "md", on_warning=warnings.append)
    assert ["bad.json" in warnings[0], "loaders.json" in warnings[1]] == [True, True]


def test_a_selection_leaves_out_other_cells_and_groups_without_any(tmp_path: Path) -> None:
    write_records(tmp_path / "a_shapes_cpu", [made_record(), made_record(architecture="vgg11_bn")])
    write_records(tmp_path / "b_shapes_cpu", [made_record(architecture="vgg11_bn")])
    text = render_all(tmp_path, "md", expression="resnet18")
    assert "vgg11_bn" not in text
    assert text.count("###") == 1
    with pytest.raises(UsageError, match="did you mean resnet18"):
        render_all(tmp_path, "md", expression="resnet81")


@pytest.mark.parametrize("form", ["rich", "json"])
def test_the_caption_names_machine_scale_source_and_versions(tmp_path: Path, form: Form) -> None:
    environment = ENVIRONMENT | {"kornia": "0.9.0", "pipeline_bench": "0.1.0", "commit": "ab" * 20}
    text = tables(tmp_path, [made_record(record={"environment": environment})], form)
    for said in ("AMD EPYC, 2 cores", "cpu scale", "shapes", "torch 2.11.0", "kornia 0.9.0",
                 "pipeline-bench 0.1.0, commit abababa"):  # fmt: skip
        assert said in text


def test_title_and_notes_name_the_target(tmp_path: Path) -> None:
    note = "recalculated from the curves for 5.0% validation accuracy"
    for form in get_args(Form):
        text = tables(tmp_path, [made_record()], form, target=0.05)
        assert (note in text) is (form != "csv")
    first = render_all(tmp_path, target=0.05, columns=["architecture"]).splitlines()[0]
    assert "target 5.0% validation accuracy" in first
    assert "\u2026" not in first, "a title is as long as it is"


def square(**changes: Any) -> list[Record]:
    """Two nets by two optimizers: accuracies .1, .2, .3 and .4."""
    return [
        made_record(accuracy=(1 + 2 * row + column) / 10, architecture=net, optimizer=optimizer,
                    **changes)
        for row, net in enumerate(NETS)
        for column, optimizer in enumerate(OPTIMIZERS)
    ]  # fmt: skip


def replace_pipeline(record: Record) -> Record:
    return replace(record, cell=replace(record.cell, pipeline="dali"), run_id=record.run_id + "d")


def means(records: list[Record], *axes: str) -> tuple[list[dict[str, Any]], list[str]]:
    frame, notes = averaged(build(records), axes)
    return frame.to_dict(orient="records"), notes


def tables(
    tmp_path: Path, records: list[Record], form: Form, of: Shape = None, **options: Any
) -> str:
    write_records(tmp_path / "group", records)
    return render_all(tmp_path, form, shape=of, **options)


def test_a_mean_gives_its_cells_equal_weight_whatever_their_seeds() -> None:
    rows, notes = means(square(), "architecture")
    found = {row["architecture"]: row["accuracy"] for row in rows}
    assert found == {"cnn4": pytest.approx(0.15), "resnet18": pytest.approx(0.35)}
    assert {(row["cells"], row["all_cells"]) for row in rows} == {(2, 2)}
    assert notes[0] == (
        "Means over 2 combinations of optimizer and augmentation and pipeline, all with the same "
        "weight."
    )
    records = [made_record(seed, accuracy=accuracy, architecture="a") for seed, accuracy in
               enumerate((0.2, 0.3, 0.4))]  # fmt: skip
    ((row,), _) = means([*records, made_record(accuracy=0.9, architecture="b")], "pipeline")
    assert row["accuracy"] == pytest.approx(0.6)
    assert row["seeds"] == 4
    records = [made_record(seed, accuracy=0.5 + seed / 10) for seed in range(3)]
    ((row,), notes) = means(records, "architecture", "optimizer", "augmentation", "pipeline")
    assert row["accuracy_sd"] == pytest.approx(0.1)
    assert notes == []


@pytest.mark.parametrize("axes", [("pipeline",), ("architecture", "pipeline")])
def test_means_are_over_the_combinations_that_all_have(axes: tuple[str, ...]) -> None:
    """A pipeline that feeds only the better net is no better for it."""
    records = square() + [replace_pipeline(one) for one in square() if one.cell.optimizer == "sgd"]
    rows, notes = means(records, *axes)
    assert {row["accuracy"] for row in rows if row["pipeline"] == "dali"} == {
        row["accuracy"] for row in rows if row["pipeline"] == "kornia"
    }
    assert "2 of 6 cells are left out" in " ".join(notes)
    if len(axes) == 2:
        table = pivoted(build(records), Pivot(axes=axes)).texts
        assert table.cells["dali"] == table.cells["kornia"] == ["20.00", "40.00"]
        drawn = tiles(build(records).outcomes, METRICS["accuracy"], axes)  # the page's heat map
        for net, pipeline, text in zip(drawn["row"], drawn["column"], drawn["text"], strict=True):
            assert text == table.cells[pipeline][NETS.index(net)]


def test_a_missed_target_counts_sorts_last_and_is_never_the_best(tmp_path: Path) -> None:
    times = {"ax": 1.0, "ay": None, "bx": 5.0, "by": 7.0, "cx": None, "cy": None}
    records = [
        made_record(architecture=net, optimizer=optimizer, time_to_accuracy_s=seconds)
        for (net, optimizer), seconds in times.items()
    ]
    rows, _ = means(records, "architecture")
    assert [row["architecture"] for row in rows] == ["b", "a", "c"]
    assert [row["time_to_accuracy_s"] for row in rows[:2]] == [6.0, 1.0]
    assert math.isnan(rows[2]["time_to_accuracy_s"])
    assert [(row["reached"], row["seeds"]) for row in rows] == [(2, 2), (1, 2), (0, 2)]
    text = tables(tmp_path, records, "md", ("architecture",))
    assert "1.00 (1/2 reached)" in text
    assert "**6.00**" in text
    assert "not reached" in text


@pytest.mark.parametrize("column", ["time_to_accuracy_s", "images_per_s"])
def test_means_that_lack_runs_come_after_the_others_and_are_never_the_best(column: str) -> None:
    busy = {"timing_suspect": ("throttled",)}
    records = [
        made_record(pipeline=pipeline, architecture=net, images_per_s=speed,
                    time_to_accuracy_s=900 / speed, record=busy if net in bad else {})
        for pipeline, speed, bad in (("a", 300.0, ""), ("b", 900.0, "y"), ("c", 99.0, "xy"))
        for net in "xy"
    ]  # fmt: skip
    frame, _ = averaged(build(records), ["pipeline"])
    frame = sort(frame, column)
    assert frame["pipeline"].tolist() == ["a", "b", "c"]
    assert shown(frame, [column])[1] == {column: {0}}


def test_a_failed_cell_is_counted_but_not_averaged(tmp_path: Path) -> None:
    records = [made_record(accuracy=0.5), made_failure(architecture="vit", status="oom")]
    ((row,), _) = means(records, "pipeline")
    assert (row["cells"], row["all_cells"], row["accuracy"]) == (1, 2, 0.5)
    text = tables(tmp_path, records, "md", ("pipeline",))
    assert "| 1/2 |" in " ".join(text.split())
    assert "1 of 2 cells ok: RuntimeError: it broke" in text


def test_means_are_of_equal_budgets_and_versions_but_any_batch_size(tmp_path: Path) -> None:
    other = [replace(one, environment=one.environment | {"torch": "2.99"}) for one in square()]
    records = [*square(), *square(epochs=9), *square(precision="bf16"), *square(train_images=500)]
    assert sorted(map(len, footings([*records, *other]))) == [4, 4, 4, 4, 4]
    text = tables(tmp_path, records, "md", ("architecture",))
    assert text.count("###") == 4
    for said in ("4 epochs | fp32", "9 epochs | fp32", "bf16"):
        assert said in text
    records = [made_record(optimizer="sgd"), made_record(optimizer="adamw", batch_size=32)]
    (_, notes) = means(records, "architecture")
    assert notes[-1] == "Cells within a mean also differ in batch 100, batch 32."
    (_, notes) = means(records, "optimizer")
    assert not any("differ" in note for note in notes)


def test_a_pivot_table_has_each_value_in_its_place_and_one_best(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "csv", Pivot())
    rows = {row["architecture"]: row for row in csv.DictReader(StringIO(text))}
    found = [float(rows[net][optimizer]) for net in NETS for optimizer in OPTIMIZERS]
    assert found == [pytest.approx(one) for one in (0.1, 0.2, 0.3, 0.4)]
    assert rows["cnn4"]["machine"] == "AMD EPYC, 2 cores"
    text = tables(tmp_path, square(), "md", Pivot())
    assert text.count("**") == 2
    assert "**40.00**" in text
    assert text.startswith("### accuracy %, architecture x optimizer | AMD EPYC")
    slow = tables(tmp_path, square(), "md", Pivot(metric="train_s"))
    assert slow.count("**4.00**") == 4  # all alike


def test_a_pivot_table_says_why_a_value_is_missing_or_of_how_many_runs(tmp_path: Path) -> None:
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
    assert cells["sgd"] == ["**3.00 \u00b1 1.41**", "-"]
    assert cells["muon"] == ["not reached", "oom"]
    (table,) = json.loads(tables(tmp_path, records, "json", of))
    assert table["rows"][0]["optimizer"] == "muon"
    assert table["rows"][0]["vit"] is None  # numbers only; the texts above say why
    assert table["rows"][1]["vit"] is None
    assert table["rows"][1]["resnet18"] == 3.0
    records = [
        made_record(accuracy=0.5, pipeline="kornia"),
        made_failure(pipeline="dali"),
    ]
    sheet = pivoted(build(records), Pivot(axes=("architecture", "optimizer")))
    assert sheet.texts.cells["sgd"] == ["50.00 (1 of 2)"]
    assert PARTIAL in sheet.notes


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        (["optimizer", "pipeline"], ("optimizer", "pipeline")),
        (["pipeline"], ("architecture", "pipeline")),
        ([], ("architecture", "optimizer")),
    ],
)
def test_axes_that_differ_are_chosen(changes: list[str], axes: tuple[str, str]) -> None:
    records = [made_record(), *(made_record(**{axis: "another"}) for axis in changes)]
    assert pivoted(build(records), Pivot()).title.startswith(
        f"accuracy %, {axes[0]} x {axes[1]} | "
    )


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
def test_invalid_requests_give_one_sentence(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shape(**{"group": None, "metric": None, "pivot": None} | asked)


@pytest.mark.parametrize("options", [{"sort_by": "accuracy"}, {"columns": ["accuracy"]}])
def test_a_pivot_table_takes_no_columns(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave"):
        tables(tmp_path, square(), "md", Pivot(), **options)


def test_means_can_be_sorted_and_their_columns_chosen(tmp_path: Path) -> None:
    text = tables(tmp_path, square(), "csv", ("optimizer",), sort_by="accuracy",
                  columns=["optimizer", "cells", "accuracy"])  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == "optimizer,cells,accuracy"
    assert [line.partition(",")[0] for line in lines[1:]] == ["sgd", "muon"]
    with pytest.raises(UsageError, match="unknown column 'architecture'"):
        tables(tmp_path, square(), "md", ("optimizer",), columns=["architecture"])


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("of", [None, ("pipeline",), Pivot()])
def test_tables_of_failures_work_in_every_format(tmp_path: Path, form: Form, of: Shape) -> None:
    records = [made_failure(0, status="oom"), made_failure(1, architecture="vit", status="oom")]
    text = tables(tmp_path, records, form, of)
    only_numbers = isinstance(of, Pivot) and form in ("csv", "json")
    assert "oom" in text or "0 of 2 cells ok" in text or only_numbers
    assert "nan" not in text.lower().replace("nano", "")
