"""Jobs for the tests of executors, a stand-in for training them, and checks of what is left."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.executors.base import Watcher
from bench.executors.protocol import Done, EpochDone
from bench.executors.remote import RemoteExecutor
from bench.job import Job, RecordBuilder
from bench.record import Record
from pipelines import sources
from tests.made import made_curve, made_run

PATIENCE_S = 60.0
SMALL = {"object_store_memory": 100 * 2**20}  # of a Ray node


def made_job(folder: Path, part: str, seed: int = 0, **cell: object) -> Job:
    """A job whose architecture tells the stand-in for training what to do."""
    return Job(run=made_run(seed, architecture=part, **cell), folder=str(folder), data_dir="d")


def tiny_job(folder: Path, seed: int = 0, epochs: int = 2) -> Job:
    """A job that is really trained, in a second."""
    run = made_run(
        seed, architecture="cnn2", pipeline="native[eager]", width=0.125, epochs=epochs,
        train_images=200, validation_images=100, test_images=100,
    )  # fmt: skip
    return Job(run=run, folder=str(folder), data_dir=str(sources.default_data_dir()))


def fake_run_job(
    line: bytes, timeout_s: float, engine: str, expected: Any, threads: Any
) -> Iterator[Any]:
    """Replaces `run_job`: trains nothing, hangs on the node named in the file `doomed`."""
    import ray

    job = msgspec.json.decode(line, type=Job)
    folder, part = Path(job.folder), job.run.cell.architecture
    draft = RecordBuilder(job=job, curve=list(made_curve(1, 100, 0.5)))
    draft.environment = {"node": ray.get_runtime_context().get_node_id()}
    yield msgspec.json.encode(EpochDone(point=draft.curve[0]))
    doomed = folder / "doomed"
    if doomed.exists() and doomed.read_text() == draft.environment["node"]:
        (folder / f"hangs{job.run.seed}").touch()
        time.sleep(600)
    tries = len(list(folder.glob("try*")))
    (folder / f"try{tries}").touch()
    if part == "is_killed" or (part == "is_killed_once" and not tries):
        os.kill(os.getpid(), 9)
    yield {}
    yield msgspec.json.encode(Done(record=draft.record("ok")))


def watcher(lost: list[Record] | None = None) -> Watcher:
    """Collects lost attempts and ignores the rest."""
    collect = [].append if lost is None else lost.append
    return Watcher(started=lambda job: None, epoch=lambda job, point: None, lost=collect)


def processes_writing_to(folder: Path) -> set[int]:
    """Processes whose output goes to files of a folder: workers and their children."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/fd/[12]"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if path.readlink().is_relative_to(folder):
                found.add(int(path.parts[2]))
    return found


def check_no_process_writes_to(folder: Path) -> None:
    """Waits until no process writes to files of a folder."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := processes_writing_to(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def check_stopping(executor: RemoteExecutor, folder: Path) -> None:
    """Stops a real run after an epoch: no process is left, and its record says "interrupted"."""

    class Stop(Exception):
        pass

    def stop(job: Job, point: object) -> None:
        assert processes_writing_to(folder)
        raise Stop

    watcher = Watcher(started=lambda job: None, epoch=stop)
    with pytest.raises(Stop):
        next(executor.run([tiny_job(folder, epochs=10_000)], watcher))
    check_no_process_writes_to(folder)
    (cut_off,) = executor.interrupted()
    assert (cut_off.status, len(cut_off.curve)) == ("interrupted", 1)
