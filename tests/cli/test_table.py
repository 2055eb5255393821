"""`bench table --per-run`, and number columns that hold numbers or nothing."""

import json
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from bench.cell import FIELDS
from bench.cli import app
from bench.cli import table as table_verb
from bench.recipe import Recipe
from bench.report.columns import METRICS
from bench.report.matrix import METRIC_COLUMNS, SETTINGS
from bench.store import flat
from tests.made import made_failure, made_record, write_records

RECIPE = Recipe(lr=0.1, options=(("momentum", 0.9),))
RECORDS = [
    made_record(0, recipe=RECIPE),
    made_record(1, recipe=RECIPE, time_to_accuracy_s=None),
    made_record(architecture="wide", epochs=9, batch_size=64, recipe=replace(RECIPE, lr=0.5)),
    made_record(optimizer="adamw", recipe=Recipe(lr=0.01), target_accuracy=0.4),
    made_record(pipeline="dali", recipe=RECIPE, record={"timing_suspect": ("a | b", "=2+3")}),
    made_failure(architecture="vit", status="oom", recipe=RECIPE),
    made_record(optimizer="old"),  # of a version that kept no recipe
]


@pytest.fixture(name="results")
def _results(tmp_path: Path) -> Path:
    write_records(tmp_path / "here_shapes_cpu", RECORDS)
    return tmp_path


def bench(*words: object) -> Result:
    return CliRunner().invoke(app.app, ["table", *map(str, words)])


def frame_of(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text))


def test_a_row_for_each_run_and_a_column_for_each_setting(results: Path) -> None:
    found = bench(results, "--per-run")
    assert found.exit_code == 0, found.output
    frame = frame_of(found.stdout).set_index("run_id")
    assert set(frame.index) == {record.run_id for record in RECORDS}
    assert {*FIELDS, *flat.settings(RECORDS[0].cell), "seed", "status"} - {"recipe"} <= {*frame}
    for record in RECORDS:
        row = frame.loc[record.run_id]
        assert (row["status"], row["seed"], row["epochs"]) == (
            record.status, record.seed, record.cell.epochs,
        )  # fmt: skip
        assert row["lr"] == record.cell.recipe.lr if record.cell.recipe else pd.isna(row["lr"])
    missed, failed = frame.loc[RECORDS[1].run_id], frame.loc[RECORDS[5].run_id]
    assert missed["reached"] == 0
    assert pd.isna(missed["time_to_accuracy_s"])
    assert pd.isna(failed["reached"])
    assert pd.isna(failed["accuracy"])
    assert failed["error"] == "RuntimeError: it broke in the second line"
    assert frame.loc[RECORDS[0].run_id, "accuracy"] == 0.7  # as recorded, not in percent


def test_number_columns_hold_numbers_and_settings_that_differ_have_one(results: Path) -> None:
    runs = frame_of(bench(results, "--per-run").stdout)
    texts = {name for name in runs if not pd.api.types.is_numeric_dtype(runs[name])}
    assert not texts & {*METRICS, *SETTINGS, "reached", "stall_pct", "power_w", "momentum"}
    matrix = frame_of(bench(results, "--format", "csv").stdout)
    for name in (*METRIC_COLUMNS, *SETTINGS, "reached", "seeds", "runs", "trusted"):
        assert pd.api.types.is_numeric_dtype(matrix[name]), name
    frame = frame_of(bench(results, "--format", "csv").stdout).set_index("architecture")
    wide = frame.loc["wide"]
    assert (wide["epochs"], wide["batch_size"], wide["lr"]) == (9, 64, 0.5)
    assert set(frame["target_accuracy"]) == {0.6, 0.4}
    assert "momentum" in frame
    assert not {"width", "precision"} & {*frame}  # the same for all


def test_markdown_and_json_of_each_run(results: Path) -> None:
    lines = bench(results, "--per-run", "--format", "md").stdout.splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert "<NA>" not in "".join(lines)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    rows = json.loads(bench(results, "--per-run", "--format", "json").stdout)
    by_id = {row["run_id"]: row for row in rows}
    assert by_id[RECORDS[1].run_id]["time_to_accuracy_s"] is None
    assert by_id[RECORDS[0].run_id]["images_per_s"] == 1000.0


def test_a_target_and_a_selection_apply_to_runs_too(results: Path) -> None:
    found = bench(results, "--per-run", "--target", "0.35", "-k", "wide")
    (row,) = frame_of(found.stdout).to_dict(orient="records")
    assert (row["target_accuracy"], row["reached"]) == (0.35, 1)


def test_what_is_text_in_some_runs_is_text_in_all(tmp_path: Path) -> None:
    records = [
        made_record(seed, record={"environment": {"driver": driver, "gpu": None}})
        for seed, driver in enumerate((570, "570.1", None))
    ]
    write_records(tmp_path / "here_shapes_cpu", records)
    rows = json.loads(bench(tmp_path, "--per-run", "--format", "json").stdout)
    assert {(row["driver"], row["gpu"]) for row in rows} == {("570", ""), ("570.1", ""), ("", "")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sort", "accuracy"], "leave --sort out"),
        (["--columns", "lr"], "leave --columns out"),
        (["--metric", "accuracy"], "leave --metric out"),
        (["--format", "parket"], "did you mean parquet"),
        (["--format", "parquet"], "--format parquet needs pyarrow: pip install pyarrow"),
    ],
)
def test_incompatible_options_are_refused(
    results: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_verb, "find_spec", lambda name: None)
    found = bench(results, "--per-run", *words)
    assert (found.exit_code, isinstance(found.exception, SystemExit)) == (2, True)
    assert message in found.output


def test_parquet_keeps_types(results: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.read_parquet(
        BytesIO(bench(results, "--per-run", "--format", "parquet").stdout_bytes)
    )
    assert len(frame) == len(RECORDS)
    for name in (*SETTINGS, "accuracy", "time_to_accuracy_s", "power_w"):
        assert pd.api.types.is_numeric_dtype(frame[name]), name
    assert pd.api.types.is_string_dtype(frame["status"])
