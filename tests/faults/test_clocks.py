"""Clocks that jump, time zones, and locales with decimal commas."""

import ast
import csv
import io
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.job import Job, RecordBuilder
from bench.store.store import Store
from bench.tensorboard.run_log import RunLog
from bench.training.run import train
from bench.training.setup import Shared
from pipelines import sources
from tests.checkout import ROOT
from tests.made import made_record, made_run
from tests.training.test_run import CELL


def test_a_clock_that_jumps_changes_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of day goes back an hour at every look while a run trains."""
    hours = count(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(hours))
    data_dir = str(sources.default_data_dir())
    run = replace(made_run(), cell=replace(CELL, epochs=2))
    draft = RecordBuilder(job=Job(run=run, folder=str(tmp_path), data_dir=data_dir))
    log = RunLog(tmp_path / "events", on_error=pytest.fail)
    start = time.monotonic()
    train(draft, Shared(), log.point)
    record = draft.record("ok")
    log.finish(record)
    passed_s = time.monotonic() - start
    timings = [value for value in vars_of(record.timings) if value is not None]
    assert timings
    assert all(0.0 <= value <= passed_s for value in timings), record.timings
    assert 0.0 < record.curve[0].train_s < record.curve[1].train_s <= passed_s
    assert next(hours) > 1, "nobody looked at the time of day, so nothing was tried"


def vars_of(timings: Any) -> list[float | None]:
    return [getattr(timings, name) for name in timings.__dataclass_fields__]


TIME_OF_DAY = {"bench/tensorboard/events.py", "bench/store/files.py"}  # dates, and ages of files


def test_only_dates_are_taken_from_the_time_of_day() -> None:
    """Every duration comes from a clock that cannot be set."""
    found = set()
    for package in ("bench", "pipelines", "architectures"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time":
                    found.add(str(path.relative_to(ROOT)))
    assert found == TIME_OF_DAY


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "UTC", "nonsense"])
def test_records_tell_the_time_in_utc_wherever_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """A change of the time zone between two runs changes nothing."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        draft = RecordBuilder(job=Job(run=made_run(), folder=str(tmp_path), data_dir=""))
        started = datetime.fromisoformat(draft.record("ok").started)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert started.utcoffset() is not None
    assert started.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60


@pytest.fixture(scope="module")
def commas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A locale with comma decimals, made for the tests where the system has the sources."""
    if shutil.which("localedef") is None:
        pytest.skip("no localedef here")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if not (folder / "de_DE.UTF-8").exists():
        pytest.skip(f"localedef made no locale: {done.stderr.decode(errors='replace')}")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}


IN_LOCALE = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")  # as a library may do it
assert locale.localeconv()["decimal_point"] == ",", locale.setlocale(locale.LC_ALL)
from bench.cli.app import main
sys.argv = ["bench", "table", sys.argv[1], "--format", sys.argv[2]]
main()
"""


@pytest.mark.parametrize("form", ["csv", "md"])
def test_figures_have_points_where_the_locale_has_commas(
    tmp_path: Path, commas: dict[str, str], form: str
) -> None:
    """A table means the same in every country."""
    Store(tmp_path).write(made_record(accuracy=0.625))
    done = subprocess.run(
        [sys.executable, "-c", IN_LOCALE, tmp_path, form],
        cwd=ROOT, env=os.environ | commas, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if form == "md":
        assert "62.50" in done.stdout
        return
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert "0.625" in row.values() or "62.5" in row.values(), row
