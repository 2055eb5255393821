"""Measurements that are disturbed or cannot be compared are marked; clocks do not mislead."""

import sys
import time
from dataclasses import astuple, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from bench.job import Job, RecordBuilder
from bench.machine import cpu
from bench.report.matrix import build
from bench.report.table import render
from bench.tensorboard.run_log import RunLog
from bench.training.run import train
from bench.training.setup import Shared
from tests.made import made_record, made_run
from tests.training.test_run import CELL, builder, run


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_other_work_on_the_cpu_makes_timings_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counters are made up, so that the result does not depend on this machine's load."""
    shares = cpu.CpuShares(others_pct=45.0, idle_pct=0.0, stolen_pct=0.0, waited_pct=12.0)
    monkeypatch.setattr(cpu.CpuWatch, "shares", lambda watch: shares)
    busy = count(0.0, 1000.0)
    monkeypatch.setattr(cpu, "other_workers_cpu_s", lambda: {7: next(busy)})
    record = run(replace(CELL, epochs=1), tmp_path)
    assert record.conditions.neighbours == 1
    reasons = "\n".join(record.timing_suspect)
    assert "other processes used 45 %" in reasons
    assert "other runs were active on this host (1)" in reasons


def test_few_seeds_and_mixed_machines_are_noted_below_the_table() -> None:
    here = {"cpu": "AMD EPYC", "gpu": None, "torch": "2.14.1", "cores": 2}
    there = {"cpu": "AMD EPYC", "gpu": "NVIDIA H100", "torch": "2.11.0", "cores": 16}
    records = [
        made_record(seed, architecture=net, record={"environment": environment})
        for net, environment in (("cnn4", here), ("vit_tiny", there))
        for seed in range(5)
    ]
    table = render(build(records), "md")
    assert "Too few seeds" not in table
    assert "Rows come from 2 machines" in table
    for word in ("AMD EPYC, 2 cores", "NVIDIA H100", "torch 2.14.1", "torch 2.11.0"):
        assert word in table
    table = render(build([records[0], records[5]]), "md")
    assert "Too few seeds" in table


def test_a_jumping_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day goes back an hour at each reading while a run trains."""
    hours, now, start = count(1), time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(hours))
    draft, log = builder(CELL, tmp_path), RunLog(tmp_path / "events", on_error=pytest.fail)
    train(draft, Shared(), log.point)
    record = draft.record("ok")
    passed_s = time.monotonic() - start
    timings = [value for value in astuple(record.timings) if value is not None]
    assert timings
    assert all(0.0 <= value <= passed_s for value in timings), record.timings
    assert 0.0 < record.curve[0].train_s < record.curve[1].train_s <= passed_s
    assert next(hours) > 1, "nothing read the time of day"


def test_the_time_of_a_record_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        draft = RecordBuilder(job=Job(run=made_run(), folder="f", data_dir="d"))
        started = datetime.fromisoformat(draft.record("ok").started)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert started.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60
