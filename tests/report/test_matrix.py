"""The matrix: which runs share a row, aggregation over seeds, and order."""

import csv
import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from bench.recipe import Recipe
from bench.record import Failure
from bench.report.matrix import Matrix, averaged, build, versions
from bench.report.render import shown
from bench.report.rows import by_kind
from bench.report.table import Pivot, pivoted, render
from tests.made import ENVIRONMENT, made_failure, made_record


def rows_of(matrix: Matrix) -> list[dict[str, Any]]:
    return list(csv.DictReader(StringIO(render(matrix, "csv"))))


def test_mean_and_sd_are_over_seeds_in_any_order() -> None:
    records = [made_record(seed, accuracy=value) for seed, value in enumerate((0.2, 0.5, 0.8))]
    (row,) = rows_of(build(records))
    assert (row["seeds"], float(row["accuracy"])) == ("3", pytest.approx(0.5))
    assert float(row["accuracy_sd"]) == pytest.approx(0.3)
    (row,) = rows_of(build(records[:1]))
    assert row["accuracy_sd"] == ""
    assert "\u00b1" not in render(build(records[:1]), "md")
    records = [made_record(seed, architecture=name) for seed in range(2) for name in "abc"]
    assert render(build(records), "md") == render(build(records[::-1]), "md")


def test_rows_are_sorted_by_time_then_missed_by_accuracy_then_failed() -> None:
    records = [
        made_failure(architecture="failed"),
        made_record(architecture="missed", time_to_accuracy_s=None, accuracy=0.4),
        made_record(architecture="missed_better", time_to_accuracy_s=None, accuracy=0.5),
        made_record(0, architecture="partly", time_to_accuracy_s=1.0),
        made_record(1, architecture="partly", time_to_accuracy_s=None),
        made_record(architecture="slow", time_to_accuracy_s=9.0),
        made_record(architecture="soon", time_to_accuracy_s=2.0),
    ]
    assert [row["architecture"] for row in rows_of(build(records))] == [
        "soon", "slow", "partly", "missed_better", "missed", "failed",
    ]  # fmt: skip


def test_a_missed_target_is_text_for_readers_and_empty_for_programs() -> None:
    matrix = build([made_record(time_to_accuracy_s=None)])
    for form in ("rich", "md"):
        assert "not reached" in render(matrix, form)  # type: ignore[arg-type]
    (written,) = csv.DictReader(StringIO(render(matrix, "csv")))
    assert (written["time_to_accuracy_s"], written["reached"], written["seeds"]) == ("", "0", "1")
    (row,) = json.loads(render(matrix, "json"))[0]["rows"]
    assert (row["time_to_accuracy_s"], row["reached"], row["seeds"]) == (None, 0, 1)
    records = [made_record(seed, time_to_accuracy_s=2.0 if seed < 3 else None) for seed in range(5)]
    assert "2.00 \u00b1 0.00 (3/5 reached)" in render(build(records), "md")
    matrix = build([made_record(protocol="speedrun", time_to_accuracy_s=None)])
    assert "not reached" not in render(matrix, "md") + render(matrix, "csv")
    assert "speedrun protocol" in render(matrix, "md")
    assert "target" not in matrix.title


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        ("skipped", "Unsupported", "skipped: it broke"),
        ("timeout", "Timeout", "timeout: it broke"),
        ("crashed", "ValueError", "crashed: ValueError: it broke"),
    ],
)
def test_reasons_are_not_repeated(status: str, error: str, shown: str) -> None:
    failure = replace(made_failure(1, epochs=9), status=status,
                      error=Failure(type=error, message="it broke\nhere"))  # fmt: skip
    text = render(build([made_record(0), failure]), "md")
    assert f"| {shown} |" in " ".join(text.split())


def test_failed_cells_are_rows_and_failed_seeds_counted_but_ignored() -> None:
    cut = made_record(1, accuracy=0.1, record={"status": "interrupted"})
    records = [made_record(0), cut, made_failure(2), made_failure(3, status="oom")]
    (row,) = rows_of(build(records))
    assert (row["seeds"], row["runs"], float(row["accuracy"])) == ("1", "4", 0.7)
    assert row["status"] == "1 ok, 1 interrupted, 1 crashed, 1 oom"
    assert "| 1/4 |" in " ".join(render(build(records), "md").split())
    matrix = build([made_record(), made_failure(architecture="vit", status="oom")])
    row = rows_of(matrix)[1]
    assert (row["status"], row["reason"]) == ("oom", "RuntimeError: it broke")
    assert (row["seeds"], row["runs"], row["accuracy"]) == ("0", "1", "")


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
        ({"record": {"versions": {"architecture": "1 of mine.py 00aa"}}}, "mine.py 00aa"),
        ({"record": {"fingerprint": "beef"}}, "images beef"),
        ({"record": {"environment": ENVIRONMENT | {"torch": "2.99.0"}}}, "torch 2.99.0"),
        ({"record": {"environment": ENVIRONMENT | {"gpu": "H100"}}}, "H100"),
    ],
)
def test_runs_that_differ_in_anything_never_share_a_row(change: dict[str, Any], shown: str) -> None:
    rows = rows_of(build([made_record(0), made_record(1, **change)]))
    assert len(rows) == 2
    assert any(shown in row["budget"] for row in rows)


def test_a_run_that_never_started_joins_the_machine_of_the_others() -> None:
    failure = replace(made_failure(1), environment={})
    assert len(rows_of(build([made_record(0), failure]))) == 1


def test_the_title_names_what_all_rows_share() -> None:
    title = build([made_record(), made_record(architecture="vit")]).title
    for part in ("AMD EPYC, 2 cores", "cpu scale", "shapes", "target 60.0%", "4 epochs", "2.11.0"):
        assert part in title
    assert "4 epochs" not in build([made_record(), made_record(epochs=5)]).title
    assert build([made_record()], reference=True).title.startswith("reference")
    counts = {"training_images": 108, "validation_images": 13, "test_images": 30}
    records = [made_record(record=counts), made_record(1), made_failure(2)]
    assert "108 training, 13 validation and 30 test images" in build(records).title
    other = made_record(3, epochs=9, record=counts | {"training_images": 96})
    assert "test images" not in build([*records, other]).title


def test_suspect_reasons_that_differ_only_in_numbers_are_one_note() -> None:
    draws = {"Crop": "per batch", "HorizontalFlip": "per batch"}
    busy = [{"timing_suspect": (f"used {n} % of the CPU",)} for n in (7, 12.5, 9)]
    seeds = [
        made_record(seed, record=one | {"augmentation_draws": draws})
        for seed, one in enumerate(busy)
    ]
    text = render(build(seeds), "md")
    assert "in 3 of 3 runs: used 7 to 12.5 % of the CPU; per batch: Crop, HorizontalFlip |" in text
    assert "notes" not in render(build([made_record()]), "md")
    assert by_kind(["used 7 to 12.5 %", "used 3 %", "used"]) == ["used 3 to 12.5 %", "used"]


def test_versions_are_shown_only_where_there_are_several_and_then_all() -> None:
    other = made_record(optimizer="adamw", record={"versions": {"optimizer": 2}})
    first = made_record(record={"versions": {"optimizer": 1}})
    assert [row["budget"] for row in rows_of(build([first, other]))] == ["", ""]
    second = made_record(record={"versions": {"optimizer": 2}})
    budgets = {row["budget"] for row in rows_of(build([first, second, other]))}
    assert budgets == {"optimizer v1", "optimizer v2", ""}
    records = [
        made_record(record={"environment": {"torch": torch, "commit": commit}})
        for torch, commit in (("2.1", "a" * 40), ("2.2", "b" * 40), ("2.2", "c" * 40), ("", "d"))
    ]  # fmt: skip
    said = versions(records)
    assert "torch 2.1 and 2.2" in said
    assert "commit aaaaaaa and bbbbbbb and ccccccc and 1 more" in said
    assert versions([]) == ""
    assert versions([replace(records[0], environment={})]) == ""


def test_suspect_times_are_excluded_and_counted_in_notes() -> None:
    busy = {"timing_suspect": ("throttled",)}
    times = {"images_per_s": 9e9, "time_to_accuracy_s": 0.1}
    seeds = [made_record(0, accuracy=0.6), made_record(1, accuracy=0.8, record=busy, **times)]
    matrix = build([*seeds, made_record(architecture="b", record=busy, **times)])
    row, lost = rows_of(matrix)
    found = [row["images_per_s"], row["time_to_accuracy_s"], row["accuracy"], row["trusted"]]
    assert found == ["1000.0", "3.0", "0.7", "1"]
    assert (lost["images_per_s"], lost["timing_suspect"]) == ("", "throttled")
    text = render(matrix, "md")
    assert "timing suspect in 1 of 2 runs: throttled" in text
    assert "2 of 3 runs have suspect timings: these times and speeds are neither averaged" in text
    assert text.count(" suspect |") == 5
    means, notes = averaged(matrix, ["pipeline"])
    assert means["images_per_s"].tolist() == [1000.0]
    assert shown(means, ["images_per_s"])[0] == {"images_per_s": ["1000 (1 of 3)"]}
    assert notes[0].startswith("2 of 3 runs have suspect timings")
    pivot = pivoted(matrix, Pivot(metric="images_per_s"))
    assert pivot.numbers["sgd"].tolist() == [None, 1000.0]
    assert pivot.texts.cells["sgd"][0] == "suspect"
    assert pivot.notes[0] == notes[0]
    assert not pivoted(matrix, Pivot(metric="accuracy")).notes


def test_the_best_are_bold_and_suspect_times_are_never_best() -> None:
    records = [
        made_record(architecture="a", accuracy=0.8, images_per_s=100.0, time_to_accuracy_s=2.0),
        made_record(architecture="b", accuracy=0.7, images_per_s=200.0, time_to_accuracy_s=3.0),
        made_record(architecture="c", accuracy=0.9, images_per_s=900.0, time_to_accuracy_s=1.0,
                    record={"timing_suspect": ("throttled",)}),
    ]  # fmt: skip
    text = render(build(records), "md")
    for bold in ("**90.00**", "**200**", "**2.00**"):
        assert bold in text
    assert "**900**" not in text
    assert "**1.00**" not in text
    assert "\x1b[1;32m" in render(build(records), "rich", color=True)
    assert "\x1b" not in render(build(records), "rich")


def test_the_matrix_shows_what_limits_a_cell() -> None:
    speeds = {"model": 1990.0, "both": 1500.0, "pipeline": 400.0}  # the ceiling is 2000 images/s
    records = [made_record(architecture=word, images_per_s=speed) for word, speed in speeds.items()]
    rows = rows_of(build([*records, made_failure(architecture="")]))
    assert {row["architecture"]: row["bound_by"] for row in rows} == {
        word: word for word in (*speeds, "")
    }


def test_one_view_accuracy_is_shown_if_there_were_more_views() -> None:
    plain = made_record()
    assert plain.metrics is not None
    metrics = replace(plain.metrics, accuracy=0.5, one_view_accuracy=0.48, eval_views=6)
    more = replace(plain, cell=replace(plain.cell, eval_views=6), metrics=metrics)
    text = render(build([more]), "md")
    assert "one view %" in text
    assert "48.00" in text
    assert "6 views of each image" in text
    assert "view" not in render(build([plain]), "md")


def test_rows_of_one_name_show_differing_optimizer_settings() -> None:
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
