"""Disturbed measurements are marked in the record, the table and the conclusions."""

import sys
import time
from dataclasses import astuple, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from bench.cell import Run
from bench.job import Job, RecordBuilder
from bench.machine import cpu
from bench.record import Record
from bench.report.conclusions import conclude
from bench.report.matrix import build
from bench.report.table import render
from bench.tensorboard.run_log import RunLog
from bench.training.run import train
from bench.training.setup import Shared
from pipelines import sources
from tests.made import made_record, made_run
from tests.training.test_run import CELL


def run(folder: Path, epochs: int) -> Record:
    run = Run(cell=replace(CELL, epochs=epochs), seed=0)
    job = Job(run=run, folder=str(folder), data_dir=str(sources.default_data_dir()))
    builder = RecordBuilder(job=job)
    log = RunLog(folder / "events", on_error=pytest.fail)
    train(builder, Shared(), log.point)
    record = builder.record("ok")
    log.finish(record)
    return record


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_other_runs_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the counters say is made up, so that it does not depend on this machine's load."""
    shares = cpu.CpuShares(others_pct=45.0, idle_pct=0.0, stolen_pct=0.0, waited_pct=12.0)
    monkeypatch.setattr(cpu.CpuWatch, "shares", lambda watch: shares)
    busy = count(0.0, 1000.0)
    monkeypatch.setattr(cpu, "other_workers_cpu_s", lambda: {7: next(busy)})
    record = run(tmp_path, epochs=1)
    assert record.conditions.neighbours == 1
    other = replace(made_record(architecture="cnn4"), cell=replace(record.cell, optimizer="adamw"))
    records = [record, replace(other, environment=record.environment)]
    table = render(build(records), "md")
    for part in ("other processes used 45 %", "other runs were active on this host (1)"):
        (reason,) = [text for text in record.timing_suspect if part in text]
        assert reason in table
    assert "1 of 2 runs has suspect timings" in table
    conclusions = "\n".join(conclude(records)["Caveats"])
    assert "Suspect timings" in conclusions
    assert record.name in conclusions


def test_few_seeds_and_mixed_machines_are_noted_beside_the_table() -> None:
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
    record = run(tmp_path, epochs=2)
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
