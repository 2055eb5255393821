"""What runs on a Ray or Slurm cluster must do."""

import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from bench.cli.progress import TextReporter
from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor
from bench.executors.remote import RemoteExecutor
from bench.executors.runner import run_plan
from bench.job import Job
from bench.record import Record
from bench.store.store import Store
from tests.executors.fake_cluster import tiny_job, watcher
from tests.executors.test_runner import planned
from tests.made import made_run

PATIENCE_S = 240.0


def processes_writing_to(folder: Path) -> set[int]:
    """Processes whose output goes to files of a folder: workers and their children."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/fd/[12]"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if path.readlink().is_relative_to(folder):
                found.add(int(path.parts[2]))
    return found


def check_stopping(executor: RemoteExecutor, folder: Path) -> None:
    """Stops a real run after an epoch: no process is left, and its record says "interrupted"."""

    class Stop(Exception):
        pass

    def stop(job: Job, *epoch: object) -> None:
        assert processes_writing_to(folder)
        raise Stop

    watcher = Watcher(started=lambda job: None, epoch=stop)
    with pytest.raises(Stop):
        next(executor.run([tiny_job(folder, epochs=10_000)], watcher))
    deadline = time.monotonic() + PATIENCE_S
    while left := processes_writing_to(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    (cut_off,) = executor.interrupted()
    assert (cut_off.status, len(cut_off.curve)) == ("interrupted", 1)


def check_retry(executor: RemoteExecutor, folder: Path, part: str) -> Record:
    """Runs a job that is lost once; returns the record of the lost attempt."""
    plan, out = planned(folder, 0), StringIO()
    plan.todo.append(made_run(0, architecture=part))
    console = TextReporter(file=out, terminal=False)
    outcome = run_plan(plan, console, executor=executor, command="c", fail_fast=False)
    assert (outcome.exit_code, outcome.counts) == (0, {"ok": 1})
    store = Store(folder)
    (record,) = store.records()
    (first,) = store.attempts(record.run_id)
    assert (record.status, record.attempt) == ("ok", 2)
    assert (first.status, first.attempt) == ("interrupted", 1)
    assert "is tried again: " in out.getvalue()
    return first


def check_same_numbers(executor: RemoteExecutor, folder: Path) -> None:
    """A run gives the same numbers as on this machine, and its predictions come back."""

    def train(executor: LocalExecutor | RemoteExecutor, name: str) -> list[object]:
        (folder / name).mkdir()
        (record,) = executor.run([tiny_job(folder / name)], watcher())
        assert record.metrics is not None, record.error
        points = [
            (point.train_loss, point.validation_loss, point.validation_accuracy)
            for point in record.curve
        ]
        return [record.metrics.accuracy, record.metrics.loss, record.metrics.confusion, points]

    assert train(executor, "there") == train(LocalExecutor(timeout_s=300.0), "here")
    assert len(list((folder / "there" / "predictions").iterdir())) == 1
