"""The record of `bench loaders`: read back as written, or refused with its path."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.loaders import render as render_loaders
from bench.store.files import UnusableFile
from bench.store.loaders_record import read_loaders
from tests.made_loaders import MIXED, decoding, disturbed


def test_a_group_without_measurements_has_no_record(tmp_path: Path) -> None:
    assert read_loaders(tmp_path) is None


def test_a_loaders_record_survives_a_round_trip(tmp_path: Path) -> None:
    first = decoding(disturbed(MIXED.series[1], 1), 1.0, 2.0, 3.0, cold="cold")
    record = replace(MIXED, series=(first, *MIXED.series[2:]))
    (tmp_path / "loaders.json").write_text(render_loaders(record, "json"))
    found = read_loaders(tmp_path)
    assert replace(found, series=()) == replace(record, series=())
    assert {(one.pipeline, one.batch_size): one for one in found.series} == {
        (one.pipeline, one.batch_size): one for one in record.series
    }


def test_repeats_of_earlier_records_count_as_undisturbed(tmp_path: Path) -> None:
    whole = json.loads(render_loaders(MIXED, "json"))
    for row in whole["rows"]:
        for name in ("processes_gib", "cold", "differs_by_op", "cpu_s_per_1000"):
            del row[name]
        for repeat in row["repeats"]:
            for name in ("timing_suspect", "cpu_s_per_1000", "page_cache"):
                del repeat[name]
    (tmp_path / "loaders.json").write_text(json.dumps(whole))
    found = read_loaders(tmp_path)
    assert {one.times_trusted for one in found.series if one.repeats} == {True}
    assert {one.cpu_s_per_1000 for one in found.series} == {None}
    assert "main process GiB" in render_loaders(found, "md")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', '{"rows": 1}'])
def test_a_damaged_loaders_record_is_an_error_with_its_path(text: str, tmp_path: Path) -> None:
    (tmp_path / "loaders.json").write_text(text)
    with pytest.raises(UnusableFile, match=r"loaders\.json is not a record"):
        read_loaders(tmp_path)
