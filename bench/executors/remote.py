"""Runs jobs on other nodes, several at once; a job whose worker or node is lost is tried again.

A `Cluster`, of Ray or of Slurm, brings jobs to nodes and messages back. A node does a job as this
host would: `run_job` starts a worker process, follows it and ends it. The files of a run travel
with its last message, for nodes that do not share the results folder.
"""

import os
import platform
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor, interrupted_record
from bench.executors.protocol import Done, EpochDone, Message, Ready
from bench.job import Job, RecordBuilder
from bench.machine.environment import machine_name, package_version
from bench.record import Failure, Record
from bench.store.files import write_atomically
from bench.store.store import Store

MAX_ATTEMPTS = 3
THREADS = "OMP_NUM_THREADS"  # clusters set it for their tasks, and torch obeys it

Ticket = Any  # hashable; by which a cluster knows a submitted job
Versions = dict[str, str]
Files = dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class JobLost:
    """The worker of a job, or its node, is gone."""

    reason: str


class NodeMismatch(RuntimeError):
    """A node would give other results than this process; the message says why."""


class Cluster(Protocol):
    """Where jobs are sent; every method raises UsageError if it cannot be used any more."""

    def capacity(self) -> int:
        """How many jobs it can run at once, those already submitted included."""
        ...

    def submit(self, jobs: Sequence[Job]) -> Sequence[Ticket]:
        """Sends jobs to nodes; one ticket per job."""
        ...

    def poll(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Message | JobLost]]:
        """New messages of these jobs; waits briefly if there are none.

        `Ready` comes first, once the job has started, and again if the cluster restarts it.
        After `Done` or `JobLost` a ticket is not polled again.
        """
        ...

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Ends these jobs and their processes."""
        ...

    def close(self) -> None:
        """Disconnects and removes temporary files; can be called twice."""
        ...


@dataclass(kw_only=True)
class _Attempt:
    draft: RecordBuilder
    number: int = 1
    shown: bool = False  # this attempt, or an earlier one, was reported as started
    ready: bool = False


@dataclass(kw_only=True)
class RemoteExecutor:
    """Runs as many jobs at once as the cluster has room for; see `Executor`."""

    cluster: Cluster
    _active: dict[Ticket, _Attempt] = field(default_factory=dict)
    _ended: list[Record] = field(default_factory=list)

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """Yields one record per job as they end; see `Executor.run`."""
        source, more = iter(jobs), True
        try:
            while more or self._active:
                more = more and self._fill(source)
                messages = self.cluster.poll(list(self._active)) if self._active else []
                for ticket, message in messages:
                    if ticket in self._active:  # it may have been given up just now
                        self._handle(ticket, message, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            try:
                self.cluster.cancel(list(self._active))
            finally:
                self.close()

    def interrupted(self) -> list[Record]:
        """Records that had ended but were not yielded, then one per job that was cut off."""
        cut = [
            interrupted_record(attempt.draft) for attempt in self._active.values() if attempt.shown
        ]
        return [*self._ended, *cut]

    def close(self) -> None:
        """Leaves the cluster."""
        self.cluster.close()

    def _fill(self, source: Iterator[Job]) -> bool:
        """Submits as many jobs as there is room for; whether there may be more."""
        room = max(0, self.cluster.capacity() - len(self._active))
        jobs = list(islice(source, room))
        self._submit([_Attempt(draft=RecordBuilder(job=job)) for job in jobs])
        return len(jobs) == room

    def _submit(self, attempts: Sequence[_Attempt]) -> None:
        if attempts:
            tickets = self.cluster.submit([attempt.draft.job for attempt in attempts])
            self._active.update(zip(tickets, attempts, strict=True))

    def _handle(self, ticket: Ticket, message: Message | JobLost, watcher: Watcher) -> None:
        attempt = self._active[ticket]
        match message:
            case JobLost(reason=reason):
                del self._active[ticket]
                if (retry := self._retry(attempt, reason, watcher)) is not None:
                    self._submit([retry])
                return
            case Ready() if attempt.ready:
                retry = self._retry(attempt, "the cluster preempted and restarted it", watcher)
                if retry is not None:
                    self._active[ticket] = replace(retry, ready=True)
                else:
                    del self._active[ticket]
                    self.cluster.cancel([ticket])
                return
        attempt.ready = True
        if not attempt.shown:
            attempt.shown = True
            watcher.started(attempt.draft.job)
        if isinstance(message, EpochDone):
            attempt.draft.curve.append(message.point)
            if message.memory is not None:
                watcher.memory(message.memory)
            watcher.epoch(attempt.draft.job, message.point)
        elif isinstance(message, Done):
            del self._active[ticket]
            self._ended.append(message.record)

    def _retry(self, attempt: _Attempt, reason: str, watcher: Watcher) -> _Attempt | None:
        """The next attempt; None after the last one, which is then recorded as crashed."""
        if attempt.number >= MAX_ATTEMPTS:
            reason = f"lost {attempt.number} times, the last time because {reason}"
            error = Failure(type="WorkerLost", message=reason)
            self._ended.append(attempt.draft.record("crashed", error))
            return None
        error = Failure(type="WorkerLost", message=reason)
        watcher.lost(attempt.draft.record("interrupted", error))
        return _Attempt(
            draft=RecordBuilder(job=attempt.draft.job),
            number=attempt.number + 1,
            shown=attempt.shown,
        )


def node_versions(device: str, engine: str) -> Versions:
    """What must be the same on every node for runs to be comparable.

    Args:
        device: "cuda" or "cpu".
        engine: The package that brings jobs to nodes.
    """
    packages = {name: str(package_version(name)) for name in ("torch", engine, "pipeline-bench")}
    return {"machine": machine_name(device), "python": platform.python_version()} | packages


def check_node(device: str, engine: str, expected: Versions) -> None:
    """Compares the node that this is called on with `node_versions` of the calling process.

    Raises:
        NodeMismatch: It has other versions, or is a different machine.
    """
    actual = node_versions(device, engine)
    different = [
        f"{name} {actual[name]} instead of {expected[name]}"
        for name in expected
        if actual[name] != expected[name]
    ]
    if different:
        raise NodeMismatch(
            f"the {engine.capitalize()} node {socket.gethostname()} has {', '.join(different)}: "
            "make them the same, or remove the node from the cluster"
        )


def run_job(
    line: bytes, timeout_s: float, engine: str, expected: Versions, threads: str | None
) -> Iterator[bytes | Files]:
    """Runs one job on the node that this is called on.

    Args:
        line: The job, encoded as for a worker.
        timeout_s: Time limit of the run.
        engine: As in `node_versions`.
        expected: Versions of the process that writes the records.
        threads: The value of `THREADS` in that process.

    Yields:
        `Ready`, then the worker's messages, encoded; before the last one the files of the run.

    Raises:
        NodeMismatch: The node has other versions, or is a different machine.
    """
    job = msgspec.json.decode(line, type=Job)
    check_node(job.run.cell.device, engine, expected)
    yield msgspec.json.encode(Ready(import_s=0.0))
    os.environ.pop(THREADS, None)
    if threads is not None:
        os.environ[THREADS] = threads
    executor = LocalExecutor(timeout_s=timeout_s)
    try:
        for message in executor.follow(job, RecordBuilder(job=job)):
            if isinstance(message, Done):
                executor.stop()  # the worker may still be writing
                yield collect_files(job)
            yield msgspec.json.encode(message)
    finally:
        executor.stop()


def collect_files(job: Job) -> Files:
    """Log, predictions, event files and trace of a run, by path relative to the group's folder."""
    store = Store(Path(job.folder))
    paths = [store.log_path(job.run.id), *store.tensorboard_path(job.run).rglob("*")]
    for name in ("predictions", "profiles"):
        paths += (store.folder / name).glob(f"*{job.run.id}*")
    return {
        str(path.relative_to(store.folder)): path.read_bytes() for path in paths if path.is_file()
    }


def save_files(job: Job, files: Files) -> None:
    """Writes the files of a run into this process's results, unless they are there already."""
    for name, content in files.items():
        path = Path(job.folder) / name
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
