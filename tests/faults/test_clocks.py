"""Clocks that jump, and time zones."""

import time
from dataclasses import astuple, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from bench.job import Job, RecordBuilder
from bench.tensorboard.run_log import RunLog
from bench.training.run import train
from bench.training.setup import Shared
from pipelines import sources
from tests.made import made_run
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
    builder = RecordBuilder(job=Job(run=run, folder=str(tmp_path), data_dir=data_dir))
    log = RunLog(tmp_path / "events", on_error=pytest.fail)
    start = time.monotonic()
    train(builder, Shared(), log.point)
    record = builder.record("ok")
    log.finish(record)
    passed_s = time.monotonic() - start
    timings = [value for value in astuple(record.timings) if value is not None]
    assert timings
    assert all(0.0 <= value <= passed_s for value in timings), record.timings
    assert 0.0 < record.curve[0].train_s < record.curve[1].train_s <= passed_s
    assert next(hours) > 1, "nothing read the time of day"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "UTC", "nonsense"])
def test_records_have_their_time_in_utc_in_every_time_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        builder = RecordBuilder(job=Job(run=made_run(), folder=str(tmp_path), data_dir=""))
        started = datetime.fromisoformat(builder.record("ok").started)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert started.utcoffset() is not None
    assert started.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60
