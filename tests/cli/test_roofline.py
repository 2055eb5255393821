"""`bench roofline`: both files and the table from the records of one group."""

import json
from pathlib import Path

import pytest

from bench.machine import roofline
from bench.store.store import Store
from tests.cli.conftest import Bench
from tests.made import made_record


def test_roofline_shows_the_table_and_writes_both_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(roofline, "ROUND_S", 0.01)
    monkeypatch.setattr(roofline, "MATRIX_SIDE", {"cpu": 16})
    monkeypatch.setattr(roofline, "COPY_MIB", {"cpu": 1})
    Store(tmp_path / "group").write(made_record(architecture="cnn2"))
    done = bench("roofline", str(tmp_path / "group"), "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "| cnn2 " in done.stdout
    assert (tmp_path / "group" / "roofline.md").read_text() == done.stdout
    assert json.loads((tmp_path / "group" / "roofline.json").read_text())["nets"]
