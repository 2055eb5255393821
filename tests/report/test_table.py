"""The matrix: aggregation over seeds, order, and what each format shows."""

import csv
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.recipe import Recipe
from bench.record import Failure, Record
from bench.report.columns import Column
from bench.report.matrix import Matrix, build, versions
from bench.report.render import Form, Table
from bench.report.table import render, render_all, write_matrix
from bench.store.codec import encode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import ENVIRONMENT, made_failure, made_record


def rows_of(matrix: Matrix) -> list[dict[str, Any]]:
    return list(csv.DictReader(StringIO(render(matrix, "csv"))))


def order_of(matrix: Matrix, **options: Any) -> list[str]:
    text = render(matrix, "csv", **options)
    return [row["architecture"] for row in csv.DictReader(StringIO(text))]


def fill(folder: Path, records: list[Record]) -> Store:
    store = Store(folder)
    for record in records:
        path = store.record_path(record.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(record))
    return store


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_mean_and_sd_are_those_of_the_seeds(accuracies: list[float]) -> None:
    records = [made_record(seed, accuracy=value) for seed, value in enumerate(accuracies)]
    (row,) = rows_of(build(records))
    assert int(row["seeds"]) == len(accuracies)
    assert float(row["accuracy"]) == pytest.approx(statistics.mean(accuracies), abs=1e-12)
    assert float(row["accuracy_sd"]) == pytest.approx(statistics.stdev(accuracies), abs=1e-9)


def test_one_seed_has_no_sd() -> None:
    (row,) = rows_of(build([made_record()]))
    assert row["accuracy_sd"] == ""
    assert "\u00b1" not in render(build([made_record()]), "md")


def test_the_order_of_records_does_not_matter() -> None:
    records = [made_record(seed, architecture=name) for seed in range(2) for name in "abc"]
    assert render(build(records), "md") == render(build(records[::-1]), "md")


def test_soonest_first_then_partly_missed_then_missed_by_accuracy_then_failed() -> None:
    records = [
        made_failure(architecture="failed"),
        made_record(architecture="missed", time_to_accuracy_s=None, accuracy=0.4),
        made_record(architecture="missed_better", time_to_accuracy_s=None, accuracy=0.5),
        made_record(0, architecture="partly", time_to_accuracy_s=1.0),
        made_record(1, architecture="partly", time_to_accuracy_s=None),
        made_record(architecture="slow", time_to_accuracy_s=9.0),
        made_record(architecture="soon", time_to_accuracy_s=2.0),
    ]
    assert order_of(build(records)) == [
        "soon", "slow", "partly", "missed_better", "missed", "failed",
    ]  # fmt: skip


def test_a_missed_target_is_said_in_every_form() -> None:
    matrix = build([made_record(time_to_accuracy_s=None)])
    for form in ("rich", "md", "csv"):
        assert "not reached" in render(matrix, form)  # type: ignore[arg-type]
    (row,) = json.loads(render(matrix, "json"))["rows"]
    assert (row["time_to_accuracy_s"], row["reached"], row["seeds"]) == (None, 0, 1)


def test_a_target_that_some_seeds_missed_shows_how_many_reached_it() -> None:
    records = [made_record(seed, time_to_accuracy_s=2.0 if seed < 3 else None) for seed in range(5)]
    assert "2.0 \u00b1 0.0 (3/5 reached)" in render(build(records), "md")


def test_nothing_is_reached_or_missed_without_a_validation_set() -> None:
    matrix = build([made_record(protocol="speedrun", time_to_accuracy_s=None)])
    assert "not reached" not in render(matrix, "md") + render(matrix, "csv")
    assert "speedrun protocol" in render(matrix, "md")
    assert "target" not in matrix.title


def test_a_failed_cell_is_a_row_with_its_reason() -> None:
    matrix = build([made_record(), made_failure(architecture="vit", status="oom")])
    row = rows_of(matrix)[1]
    assert (row["status"], row["reason"]) == ("oom", "RuntimeError: it broke")
    assert (row["seeds"], row["runs"], row["accuracy"]) == ("0", "1", "")
    assert "oom: RuntimeError: it broke" in render(matrix, "md")
    assert "second line" not in render(matrix, "md")


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        ("skipped", "Skipped", "skipped: it broke"),
        ("skipped", "Unsupported", "skipped: it broke"),
        ("timeout", "Timeout", "timeout: it broke"),
        ("interrupted", "Interrupted", "interrupted: it broke"),
        ("crashed", "ValueError", "crashed: ValueError: it broke"),
    ],
)
def test_a_reason_says_nothing_twice(status: str, error: str, shown: str) -> None:
    failure = Failure(type=error, message="it broke\nhere")
    records = [made_record(0), made_record(1, epochs=9, record={"status": status, "error": failure,
               "metrics": None, "throughput": None})]  # fmt: skip
    assert f"| {shown} |" in render(build(records), "md").replace("  ", " ").replace("  ", " ")


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
def test_a_table_in_which_nothing_ended_well_can_be_shown(form: Form) -> None:
    records = [made_failure(0, status="oom"), made_failure(1, architecture="vit_tiny")]
    text = render(build(records), form)
    assert "oom" in text
    assert "vit_tiny" in text
    assert "nan" not in text.lower()


def test_failed_seeds_of_a_cell_are_counted_beside_the_good_ones() -> None:
    records = [made_record(0), made_record(1), made_failure(2), made_failure(3, status="oom")]
    (row,) = rows_of(build(records))
    assert (row["seeds"], row["runs"]) == ("2", "4")
    assert row["status"] == "2 ok, 1 crashed, 1 oom"
    assert "| 2/4 |" in " ".join(render(build(records), "md").split())


def test_figures_of_failed_seeds_count_for_nothing() -> None:
    cut = made_record(1, accuracy=0.1, record={"status": "interrupted"})
    (row,) = rows_of(build([made_record(0, accuracy=0.9), cut]))
    assert float(row["accuracy"]) == 0.9


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"epochs": 9}, "9 epochs"),
        ({"width": 0.5}, "width 0.5"),
        ({"target_accuracy": 0.7}, "target 70.0%"),
        ({"train_images": None}, "all images"),
        ({"compile": True}, "compile on"),
        ({"source": "cifar10"}, "cifar10"),
        ({"scale": "full"}, "full scale"),
        ({"record": {"versions": {"architecture": 2}}}, "architecture v2"),
        ({"record": {"fingerprint": "beef"}}, "images beef"),
        ({"record": {"environment": ENVIRONMENT | {"torch": "2.99.0"}}}, "torch 2.99.0"),
        ({"record": {"environment": ENVIRONMENT | {"gpu": "H100"}}}, "H100"),
    ],
)
def test_runs_that_differ_in_anything_never_share_a_row(change: dict[str, Any], shown: str) -> None:
    rows = rows_of(build([made_record(0), made_record(1, **change)]))
    assert len(rows) == 2
    assert any(shown in row["budget"] for row in rows)
    same = build([made_record(0), made_record(1)])
    assert rows_of(same)[0]["budget"] == ""
    assert "budget" not in render(same, "md")


def test_a_run_that_never_started_joins_the_machine_of_the_others() -> None:
    failure = made_failure(1)
    failure = made_record(1, record={"status": "crashed", "error": failure.error, "metrics": None,
                                     "environment": {}})  # fmt: skip
    assert len(rows_of(build([made_record(0), failure]))) == 1


def test_the_title_names_what_all_rows_share() -> None:
    title = build([made_record(), made_record(architecture="vit")]).title
    for part in ("AMD EPYC, 2 cores", "cpu scale", "shapes", "target 60.0%", "4 epochs", "2.11.0"):
        assert part in title
    assert "4 epochs" not in build([made_record(), made_record(epochs=5)]).title
    assert build([made_record()], reference=True).title.startswith("reference")


def test_weaker_draws_and_suspect_times_are_marked() -> None:
    marked = {
        "augmentation_draws": {"Crop": "per batch", "HorizontalFlip": "per sample"},
        "timing_suspect": ("2 graphs compiled inside the clock",),
    }
    text = render(build([made_record(record=marked)]), "md")
    assert "timing suspect: 2 graphs compiled inside the clock; per batch: Crop" in text
    assert "notes" not in render(build([made_record()]), "md")


def test_the_best_are_bold_and_suspect_times_are_never_best() -> None:
    records = [
        made_record(architecture="a", accuracy=0.8, images_per_s=100.0, time_to_accuracy_s=2.0),
        made_record(architecture="b", accuracy=0.7, images_per_s=200.0, time_to_accuracy_s=3.0),
        made_record(architecture="c", accuracy=0.6, images_per_s=900.0, time_to_accuracy_s=1.0,
                    record={"timing_suspect": ("throttled",)}),
    ]  # fmt: skip
    text = render(build(records), "md")
    assert "**80.00**" in text
    assert "**200**" in text
    assert "**2.0**" in text
    assert "**900**" not in text
    assert "**1.0**" not in text
    assert "\x1b[1;32m" in render(build(records), "rich", color=True)
    assert "\x1b" not in render(build(records), "rich")


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


def test_text_in_a_reason_cannot_break_the_table() -> None:
    record = made_record(pipeline="a|b")
    lines = render(build([record]), "md").strip().splitlines()
    unescaped = [line.replace("\\|", "").count("|") for line in lines[2:]]
    assert len(set(unescaped)) == 1


def test_a_narrow_terminal_drops_columns_and_says_so() -> None:
    matrix = build([made_record(seed) for seed in range(2)])
    text = render(matrix, "rich", width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "left out for width: train s" in text
    assert "left out" not in render(matrix, "rich", width=300)
    assert "left out" not in render(matrix, "rich")


def test_an_empty_matrix_can_be_shown() -> None:
    for form in ("rich", "md", "csv", "json"):
        assert render(build([]), form)  # type: ignore[arg-type]


def test_matrix_files_are_written_beside_the_records(tmp_path: Path) -> None:
    store = fill(tmp_path, [made_record(), made_failure(architecture="vit")])
    path = write_matrix(store, store.records())
    assert path == tmp_path / "matrix.md"
    rows = list(csv.DictReader(StringIO((tmp_path / "matrix.csv").read_text())))
    assert [row["architecture"] for row in rows] == ["resnet18", "vit"]
    assert path.read_text() == render(build(store.records()), "md")


def test_one_table_for_each_group(tmp_path: Path) -> None:
    fill(tmp_path / "here_shapes_cpu", [made_record(architecture="ours")])
    fill(tmp_path / "reference" / "there_shapes_cpu", [made_record(architecture="theirs")])
    text = render_all(tmp_path, "md", machine=["here"])
    assert text.count("###") == 2
    assert text.index("ours") < text.index("### reference") < text.index("theirs")
    rows = list(csv.DictReader(StringIO(render_all(tmp_path, "csv"))))
    assert {row["architecture"] for row in rows} == {"ours", "theirs"}
    tables = json.loads(render_all(tmp_path, "json"))
    assert [len(table["rows"]) for table in tables] == [1, 1]


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no records under"):
        render_all(tmp_path)


def test_damaged_records_are_reported_and_the_rest_is_shown(tmp_path: Path) -> None:
    store = fill(tmp_path / "group", [made_record()])
    store.record_path("bad").write_bytes(b"{")
    warnings: list[str] = []
    assert "resnet18" in render_all(tmp_path, "md", on_warning=warnings.append)
    assert "bad.json" in warnings[0]


SHOW = """
import sys
from pathlib import Path
from bench.report.table import render_all
print(len(render_all(Path(sys.argv[1])).splitlines()))
assert "torch" not in sys.modules
"""


def test_a_thousand_records_are_shown_without_torch(tmp_path: Path) -> None:
    records = [
        made_record(seed, architecture=f"net{net}", augmentation=f"policy{policy}", epochs=16)
        for net in range(10)
        for policy in range(20)
        for seed in range(5)
    ]
    fill(tmp_path / "group", records)
    command = [sys.executable, "-c", SHOW, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout) > 200


def test_a_selection_leaves_out_other_cells_and_groups_without_any(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "a_shapes_cpu"), Store(tmp_path / "b_shapes_cpu")
    one.write(made_record(architecture="resnet18"))
    one.write(made_record(architecture="vgg11_bn"))
    other.write(made_record(architecture="vgg11_bn", optimizer="adamw"))
    text = render_all(tmp_path, "md", expression="resnet18")
    assert "vgg11_bn" not in text
    assert text.count("###") == 1
    with pytest.raises(UsageError, match="did you mean resnet18"):
        render_all(tmp_path, "md", expression="resnet81")


@pytest.mark.parametrize(
    ("images_per_s", "word"), [(1990.0, "model"), (1500.0, "both"), (400.0, "pipeline")]
)
def test_the_matrix_says_what_a_cell_is_bound_by(images_per_s: float, word: str) -> None:
    matrix = build([made_record(images_per_s=images_per_s)])  # its ceiling is 2000 images/s
    assert rows_of(matrix)[0]["bound_by"] == word
    assert word in render(matrix, "md")


def test_a_cell_without_a_ceiling_is_bound_by_nothing_known() -> None:
    assert rows_of(build([made_failure()]))[0]["bound_by"] == ""


def test_what_one_view_gives_is_shown_where_there_were_more() -> None:
    plain = made_record()
    assert plain.metrics is not None
    metrics = replace(plain.metrics, accuracy=0.5, one_view_accuracy=0.48, eval_views=6)
    more = replace(plain, cell=replace(plain.cell, eval_views=6), metrics=metrics)
    text = render(build([more]), "md")
    assert "one view %" in text
    assert "48.00" in text
    assert "6 views of each image" in text
    assert "view" not in render(build([plain]), "md")


def test_rows_of_one_name_say_what_their_optimizers_were_set_to() -> None:
    plain = made_record()
    one, other = (
        replace(
            plain, cell=replace(plain.cell, recipe=Recipe(lr=lr, origin=f"{lr}")), run_id=str(lr)
        )
        for lr in (0.1, 0.2)
    )
    text = render(build([one, other]), "md")
    assert "lr 0.1" in text
    assert "lr 0.2" in text
    assert "lr" not in render(build([one]), "md")


WORDS = st.lists(st.sampled_from(["a", "é", "日本", "-", "1.5", "b c", "\U0001f44d"])).map("".join)


def test_the_best_are_coloured_alone() -> None:
    columns = {"a": Column(header="net"), "b": Column(header="acc", kind="score", digits=1)}
    cells = {"a": ["x", "yy"], "b": ["1.0", "22.5"]}
    table = Table(title="t", columns=columns, cells=cells, best={"b": [1]})
    drawn = table.terminal(width=60, color=True)
    assert "\x1b[1;32m22.5\x1b[0m" in drawn
    assert drawn.count("\x1b[1;32m") == 1


def test_what_does_not_fit_is_broken_within_its_cell() -> None:
    columns = {"a": Column(header="net")}
    drawn = Table(title="t", columns=columns, cells={"a": ["x" * 50]}).terminal(width=30)
    assert max(map(len, drawn.splitlines())) <= 30
    assert drawn.count("x") == 50


def filed(folder: Path, *records: Record) -> Path:
    for record in records:
        Store(folder / "group").write(record)
    return folder


@pytest.mark.parametrize("form", ["rich", "json"])
def test_the_caption_names_machine_scale_source_and_versions(tmp_path: Path, form: str) -> None:
    environment = ENVIRONMENT | {"kornia": "0.9.0", "pipeline_bench": "0.1.0", "commit": "ab" * 20}
    folder = filed(tmp_path, made_record(record={"environment": environment}))
    text = render_all(folder, form)  # type: ignore[arg-type]
    for said in ("AMD EPYC, 2 cores", "cpu scale", "shapes", "torch 2.11.0", "kornia 0.9.0",
                 "pipeline-bench 0.1.0 (commit abababa)"):  # fmt: skip
        assert said in text


def test_several_versions_are_all_named() -> None:
    records = [
        made_record(record={"environment": {"torch": torch, "commit": commit}})
        for torch, commit in (("2.1", "a" * 40), ("2.2", "b" * 40), ("2.2", "c" * 40), ("", "d"))
    ]  # fmt: skip
    said = versions(records)
    assert "torch 2.1 and 2.2" in said
    assert "(commit aaaaaaa and bbbbbbb and ccccccc and 1 more)" in said
    assert versions([]) == ""
    assert versions([replace(records[0], environment={})]) == ""


def test_notes_stand_in_every_form_for_people(tmp_path: Path) -> None:
    folder = filed(tmp_path, made_record())
    for form in ("rich", "md"):
        assert "recalculated from the curves" in render_all(folder, form, target=0.5)  # type: ignore[arg-type]
    (table,) = json.loads(render_all(folder, "json", target=0.5))
    assert "recalculated from the curves" in table["notes"][0]


def test_an_unknown_form_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean csv"):
        render_all(tmp_path / "nowhere", "cvs")  # type: ignore[arg-type]


def test_a_title_is_as_long_as_it_is(tmp_path: Path) -> None:
    folder = filed(tmp_path, made_record())
    first = render_all(folder, columns=["architecture"]).splitlines()[0]
    assert first.rstrip() == build([made_record()]).title
