"""Jobs for the tests of executors, and a stand-in for training them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.executors.base import Watcher
from bench.executors.protocol import Done, EpochDone
from bench.job import Job, RecordBuilder
from bench.record import Record
from pipelines import sources
from tests.made import made_curve, made_run

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
    builder = RecordBuilder(job=job, curve=list(made_curve(1, 100, 0.5)))
    builder.environment = {"node": ray.get_runtime_context().get_node_id()}
    yield msgspec.json.encode(EpochDone(point=builder.curve[0]))
    doomed = folder / "doomed"
    if doomed.exists() and doomed.read_text() == builder.environment["node"]:
        (folder / f"hangs{job.run.seed}").touch()
        time.sleep(600)
    tries = len(list(folder.glob("try*")))
    (folder / f"try{tries}").touch()
    if part == "is_killed_once" and not tries:
        os.kill(os.getpid(), 9)
    yield {}
    yield msgspec.json.encode(Done(record=builder.record("ok")))


def watcher(lost: list[Record] | None = None) -> Watcher:
    """Collects lost attempts and ignores the rest."""
    collect = [].append if lost is None else lost.append
    return Watcher(started=lambda job: None, epoch=lambda *epoch: None, lost=collect)
