"""What a node does with a job that was sent to it, whoever sent it.

It does what `local` does here: it starts a worker process, follows it and ends it. What the worker
says goes back as it says it, and the files that the run left go back with it, for nodes that do not
share the results folder.
"""

import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.executors.local import LocalExecutor
from bench.executors.protocol import Done, Ready
from bench.job import Job, RecordBuilder
from bench.machine.environment import machine_name, package_version
from bench.store.files import write_atomically
from bench.store.store import Store

THREADS = "OMP_NUM_THREADS"  # which engines set for their tasks, and torch heeds

Facts = dict[str, str]
Files = dict[str, bytes]


class NodeMismatch(RuntimeError):
    """A node that would give other results than this process; the message says in what."""


def facts(device: str, engine: str) -> Facts:
    """What must be the same wherever runs of one grid are trained.

    Args:
        device: What they are trained on.
        engine: The package that brings jobs to nodes.
    """
    found = {name: str(package_version(name)) for name in ("torch", engine, "pipeline-bench")}
    return {"machine": machine_name(device), "python": platform.python_version()} | found


def check_node(device: str, engine: str, ours: Facts) -> None:
    """To be called on a node.

    Raises:
        Different: It has other versions, or is another machine.
    """
    theirs = facts(device, engine)
    if theirs != ours:
        parts = [
            f"{name} {theirs[name]} instead of {ours[name]}" for name in ours
            if theirs[name] != ours[name]
        ]  # fmt: skip
        raise NodeMismatch(
            f"the {engine.capitalize()} node {socket.gethostname()} has {', '.join(parts)}: "
            "make them the same, or take the node out"
        )


def serve_job(
    line: bytes, timeout_s: float, engine: str, ours: Facts, threads: str | None
) -> Iterator[bytes | Files]:
    """One job on a node, as the local executor does it.

    Args:
        line: The job, as a worker reads it.
        timeout_s: Longest that the run may take.
        engine: As in `facts`.
        ours: What the process that writes the store has.
        threads: That process's setting of `THREADS`.

    Yields:
        That it has begun, then messages of the worker, the last of them after the files that the
        run left.

    Raises:
        Different: The node has other versions, or is another machine.
    """
    job = msgspec.json.decode(line, type=Job)
    check_node(job.run.cell.device, engine, ours)
    yield msgspec.json.encode(Ready(import_s=0.0))
    os.environ.pop(THREADS, None)
    if threads is not None:
        os.environ[THREADS] = threads
    executor = LocalExecutor(timeout_s=timeout_s)
    try:
        for message in executor.follow(job, RecordBuilder(job=job)):
            if isinstance(message, Done):
                executor.stop()  # it may still write
                yield left_by(job)
            yield msgspec.json.encode(message)
    finally:
        executor.stop()


def left_by(job: Job) -> Files:
    """What a run has left in its folder, by paths in it: log, predictions, event files, trace."""
    store = Store(Path(job.folder))
    found = [store.log_path(job.run.id), *store.tensorboard_path(job.run).rglob("*")]
    for name in ("predictions", "profiles"):
        found += (store.folder / name).glob(f"*{job.run.id}*")
    return {
        str(path.relative_to(store.folder)): path.read_bytes() for path in found if path.is_file()
    }


def keep(job: Job, files: Files) -> None:
    """Puts what a run left where this process keeps results, unless it lies there already."""
    for name, content in files.items():
        path = Path(job.folder) / name
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
