"""The table of `bench loaders`: order, ranks and formats."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bench.report.answers import answers
from bench.report.loaders import render, rows, write_tables
from bench.store.loaders_record import LEAST_REPEATS, spans_of
from bench.store.store import Store
from bench.tensorboard.overview import write_loaders
from tests.made import ENVIRONMENT
from tests.made_loaders import (
    BUSY,
    MIXED,
    decoding,
    disturbed,
    lost_series,
    made_loaders,
    made_series,
)

RATES = st.floats(1.0, 1e9)
INTERVALS = st.lists(st.tuples(RATES, RATES).map(lambda ends: (min(ends), max(ends))), max_size=8)
FORMS = ("rich", "md", "csv", "json")


@given(INTERVALS)
def test_a_rank_is_unique_only_without_overlapping_intervals(
    intervals: list[tuple[float, float]],
) -> None:
    for index, ((low, high), (first, last)) in enumerate(
        zip(intervals, spans_of(intervals), strict=True)
    ):
        others = intervals[:index] + intervals[index + 1 :]
        overlaps = any(low <= other[1] and other[0] <= high for other in others)
        assert (first != last) == overlaps
        assert 1 <= first <= last <= len(intervals)


@given(INTERVALS, st.data())
def test_ranks_hold_for_all_values_within_the_intervals(
    intervals: list[tuple[float, float]], data: st.DataObject
) -> None:
    truth = [data.draw(st.floats(low, high)) for low, high in intervals]
    for mine, (first, last) in zip(truth, spans_of(intervals), strict=True):
        better = sum(other > mine for other in truth)
        worse = sum(other < mine for other in truth)
        assert first <= 1 + better
        assert last >= len(truth) - worse


def test_rows_are_ordered_by_batch_size_and_speed() -> None:
    found = [(row["batch_size"], row["pipeline"], row["rank"]) for row in rows(MIXED)]
    assert found == [
        (128, "slow", "1"),
        (512, "quicker", "1-2"),
        (512, "quick", "1-2"),
        (512, "slow", "3"),
        (512, "dali", None),
        (512, "zoo", None),
    ]


def test_a_row_has_median_quartiles_and_share_of_the_bandwidth() -> None:
    (row,) = rows(made_loaders(made_series("one", 1e5, 4e5, 2e5, 3e5, 5e5)))
    assert (row["images_per_s_q1"], row["images_per_s"], row["images_per_s_q3"]) == (2e5, 3e5, 4e5)
    assert row["bandwidth_pct"] == pytest.approx(30.0)
    assert (row["repeats"], row["draws"], row["status"]) == (5, "per sample", "ok")


def test_compile_time_is_the_first_batch_minus_a_warm_one() -> None:
    warm = [256.0, 512.0, 1024.0]
    (row,) = rows(made_loaders(made_series("one", *warm, compiled=True)))
    assert row["compile_s"] == pytest.approx(7.0)
    (row,) = rows(made_loaders(made_series("one", *warm, compiled=True, first_batch_s=0.5)))
    assert row["compile_s"] == 0.0
    (row,) = rows(made_loaders(made_series("one", *warm)))
    assert row["compile_s"] is None


def test_per_batch_draws_are_named() -> None:
    series = made_series("one", draws={"Crop": "per sample", "MixUp": "per batch"})
    assert series.shared_draws == "per batch: MixUp"
    assert made_series("one", draws={}).shared_draws == "per sample"
    assert lost_series("one", "crashed", "boom").shared_draws == ""


def test_a_pipeline_that_draws_once_per_batch_is_neither_ranked_nor_an_answer() -> None:
    shared = made_series("shared", 900, 910, 920, draws={"Crop": "per batch"})
    record = made_loaders(made_series("a", 100, 101, 102), shared, made_series("b", 10, 11, 12))
    assert {row["pipeline"]: row["rank"] for row in rows(record)} == {
        "a": "1", "b": "2", "shared": None,
    }  # fmt: skip
    assert "one random draw per batch, have no rank" in render(record, "md")
    assert answers([], loaders=record)[0].entry == "a"


def test_a_failed_series_keeps_its_repeats_without_rank_and_values() -> None:
    broken = made_series("a", 100, 110, 120, status="crashed", reason="boom")
    record = made_loaders(broken, made_series("b", 10, 11, 12))
    assert [row["rank"] for row in rows(record)] == ["1", None]
    found = json.loads(render(record, "json"))["rows"][1]
    assert (found["images_per_s"], len(found["repeats"])) == (None, 3)


def test_notes_explain_overlapping_intervals_and_few_repeats() -> None:
    for form in ("md", "rich"):
        text = render(MIXED, form)  # type: ignore[arg-type]
        assert text.count("Overlapping intervals are not ranked") == 1
        apart = made_loaders(made_series("a", 1, 2, 3), made_series("b", 4, 5, 6))
        assert "not ranked" not in render(apart, form)  # type: ignore[arg-type]
    few = [1.0] * (LEAST_REPEATS - 1)
    record = made_loaders(made_series("a", *few), made_series("b", *(10 * rate for rate in few)))
    assert [row["rank"] for row in rows(record)] == ["1-2", "1-2"]
    assert "Series with fewer than 3 repeats are not ranked." in render(record, "md")


@pytest.mark.parametrize("form", FORMS)
def test_every_format_has_every_row_with_its_reason(form: Any) -> None:
    text = render(MIXED, form)
    for word in ("quicker", "dali is not installed", "crashed", "it broke", "flip_crop_cutout"):
        assert word in text
    assert text.endswith("\n")


def test_csv_and_json_can_be_read_back() -> None:
    table = list(csv.DictReader(StringIO(render(MIXED, "csv"))))
    assert [row["pipeline"] for row in table] == [row["pipeline"] for row in rows(MIXED)]
    assert {row["source"] for row in table} == {"cifar10"}
    whole = json.loads(render(MIXED, "json"))
    assert whole["environment"] == ENVIRONMENT
    assert whole["command"] == "bench loaders"
    assert [repeat["images_per_s"] for repeat in whole["rows"][2]["repeats"]] == [1000, 1100, 1200]


def keep(folder: Path, on_error: Callable[[str], None]) -> None:
    store = Store(folder)
    write_tables(store, MIXED)
    write_loaders(store, MIXED.images_per_s, on_error=on_error)


def test_tables_are_written_into_the_group_folder(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    keep(folder, pytest.fail)
    assert json.loads((folder / "loaders.json").read_text())["fingerprint"] == "f00d"
    for name in ("loaders.csv", "loaders.md"):
        assert (folder / name).stat().st_size > 100
    keep(folder, pytest.fail)  # again: the scalars are not there twice
    events = EventAccumulator(str(folder / "tensorboard" / "loaders" / "slow")).Reload()
    scalars = [(event.step, event.value) for event in events.Scalars("loaders/images_per_s")]
    assert scalars == [(128, 11.0), (512, 110.0)]
    assert not (folder / "tensorboard" / "loaders" / "dali").exists()


def test_unwritable_scalars_do_not_affect_the_tables(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("no folder")
    said: list[str] = []
    keep(tmp_path, said.append)
    assert len(said) == 3
    assert (tmp_path / "loaders.md").exists()


def test_columns_are_shown_if_they_say_more_than_the_title() -> None:
    five, three = made_series("quick", *range(10, 15)), made_series("slow", 1, 2, 3, reads="files")
    text = render(made_loaders(five, three), "md")
    assert all(f" {word} " in text for word in ("reads", "files", "array", "repeats", "3", "5"))
    text = render(made_loaders(five), "md")
    assert not any(word in text for word in (" reads ", " array ", "repeats |", "batch |"))
    assert " batch size 512 " in text


def test_suspect_series_have_no_rank_and_may_be_faster_than_measured() -> None:
    busy = disturbed(made_series("busy", 9.0, 10.0, 11.0, 12.0), 2)
    series = [made_series(name, rate, rate, rate) for name, rate in (("a", 30), ("b", 7), ("c", 8))]
    record = made_loaders(*series, busy)
    assert [(row["pipeline"], row["rank"]) for row in rows(record)] == [
        ("a", "1-2"),
        ("c", "3"),
        ("b", "4"),
        ("busy", None),
    ]
    assert record.images_per_s["busy"] == {}
    assert record.images_per_s["a"] == {512: 30.0}
    text = render(record, "md")
    assert "1 of 4 series have suspect timings. These have no rank, as they may be" in text
    assert f"timing suspect: {BUSY} |" in text
    assert "**" not in text, "nothing is sure to be the fastest"
    (alone,) = json.loads(render(made_loaders(busy), "json"))["rows"]
    assert (alone["timing_suspect"], alone["disturbed"], alone["trusted"]) == (BUSY, 2, False)
    assert "rank |" not in render(made_loaders(busy), "md")


def test_who_decodes_files_is_ranked_apart_from_who_reads_an_array() -> None:
    array = made_series("array", 900, 1000, 1100)
    slow = decoding(made_series("slow", 10, 11, 12), 5.0, 6.0, 8.0, cold="cold")
    fast = decoding(made_series("fast", 20, 21, 22), 2.0, 1.0, 3.0, cold="partly")
    record = made_loaders(array, slow, fast)
    found = [(row["pipeline"], row["rank"], row["cpu_s_per_1000"]) for row in rows(record)]
    assert found == [("fast", "1", 2.0), ("slow", "2", 6.0), ("array", "1", None)]
    for form in ("rich", "md"):
        text = render(record, form)  # type: ignore[arg-type]
        assert "are not ranked with those that read an array" in text
        assert "page cache warm" in text
    assert "are not ranked with" not in render(made_loaders(slow, fast), "md")
    table = {row["pipeline"]: row for row in csv.DictReader(StringIO(render(record, "csv")))}
    assert [row["processes_gib"] for row in table.values()] == ["1.5", "1.5", ""]
    cold = [table[name]["cold_images_per_s"] for name in ("slow", "fast", "array")]
    assert cold == ["5.0", "", ""]
    assert "cold speed unknown, as the page cache was not emptied (partly)" in text
    assert slow.cold is not None
    busy = replace(slow, cold=replace(slow.cold, timing_suspect=(BUSY,)))
    assert f"cold speed suspect: {BUSY}" in render(made_loaders(busy), "md")


def test_single_disturbed_repeats_are_left_out() -> None:
    some = disturbed(made_series("some", 1.0, 2.0, 10.0, 11.0, 12.0, compiled=True), 2)
    record = made_loaders(some, made_series("slow", 5.0, 6.0, 7.0))
    first, second = rows(record)
    assert (first["pipeline"], first["rank"], first["images_per_s"]) == ("some", "1", 11.0)
    assert (second["rank"], first["trusted"], first["timing_suspect"]) == ("2", True, "")
    text = render(record, "md")
    assert "3 of 5 |" in text
    assert "Disturbed repeats are left out" in text
    assert "suspect" not in text


def test_an_interrupted_series_has_values_but_no_rank_and_may_be_the_fastest() -> None:
    cut = made_series("cut", 9000, 9100, status="interrupted", reason="stopped after 2 of 5")
    record = made_loaders(cut, made_series("whole", 1, 2, 3))
    assert [(row["pipeline"], row["rank"]) for row in rows(record)] == [
        ("whole", "2"),
        ("cut", None),
    ]
    for form in ("rich", "md"):
        text = render(record, form)  # type: ignore[arg-type]
        assert "interrupted: stopped after 2 of 5" in text
        assert "9050" in text
        assert "not ranked" not in text
