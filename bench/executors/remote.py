"""Runs jobs on other nodes in parallel; retries a job whose worker or node is lost.

A `Cluster` (Ray or Slurm) sends jobs to nodes and returns their messages. On a node, `run_job`
starts a worker process as on this host. The files of a run are sent before its last message, for
nodes that do not share the results folder.
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
from bench.store.artifacts import artifacts
from bench.store.files import write_atomically
from bench.store.store import Store

MAX_ATTEMPTS = 3
THREADS = "OMP_NUM_THREADS"  # clusters set it for their tasks, and torch uses it

Ticket = Any  # hashable; identifies a submitted job in the cluster
Versions = dict[str, str]
Files = dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class JobLost:
    """The worker of a job, or its node, was lost."""

    reason: str


class NodeMismatch(RuntimeError):
    """A node would give different results than this process; the message says why."""


class Cluster(Protocol):
    """Runs submitted jobs; every method raises UsageError if the cluster is unusable."""

    def capacity(self) -> int:
        """Number of jobs that it can run at once, including those already submitted."""

    def submit(self, jobs: Sequence[Job]) -> Sequence[Ticket]:
        """Sends jobs to nodes; one ticket per job."""

    def poll(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Message | JobLost]]:
        """New messages of these jobs; waits briefly if there are none.

        `Ready` comes first, when the job starts, and again if the cluster restarts it.
        After `Done` or `JobLost` a ticket is not polled again.
        """

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Ends these jobs and their processes."""

    def close(self) -> None:
        """Disconnects and removes temporary files; can be called twice."""


@dataclass(kw_only=True)
class _Attempt:
    builder: RecordBuilder
    number: int = 1
    shown: bool = False  # whether this attempt or an earlier one was reported as started
    ready: bool = False

    def mark_started(self, watcher: Watcher) -> None:
        self.ready = True
        if not self.shown:
            self.shown = True
            watcher.started(self.builder.job)


@dataclass(kw_only=True)
class RemoteExecutor:
    """Runs as many jobs at once as the cluster has capacity for; see `Executor`."""

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
                    if ticket in self._active:  # else it was just given up
                        self._handle(ticket, message, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            try:
                self.cluster.cancel(list(self._active))
            finally:
                self.close()

    def interrupted(self) -> list[Record]:
        """Finished records that were not yielded, then one per interrupted job."""
        started = [attempt.builder for attempt in self._active.values() if attempt.shown]
        return [*self._ended, *map(interrupted_record, started)]

    def close(self) -> None:
        """Leaves the cluster."""
        self.cluster.close()

    def _fill(self, source: Iterator[Job]) -> bool:
        """Submits as many jobs as there is capacity for; returns whether more may be left."""
        room = max(0, self.cluster.capacity() - len(self._active))
        jobs = list(islice(source, room))
        self._submit([_Attempt(builder=RecordBuilder(job=job)) for job in jobs])
        return len(jobs) == room

    def _submit(self, attempts: Sequence[_Attempt]) -> None:
        jobs = [attempt.builder.job for attempt in attempts]
        for job in jobs:
            Store(Path(job.folder)).fresh_log(job.run.id)
        if jobs:
            self._active.update(zip(self.cluster.submit(jobs), attempts, strict=True))

    def _handle(self, ticket: Ticket, message: Message | JobLost, watcher: Watcher) -> None:
        attempt = self._active[ticket]
        match message:
            case JobLost(reason=reason):
                del self._active[ticket]
                if (retry := self._retry(attempt, reason, watcher)) is not None:
                    self._submit([retry])
            case Ready() if attempt.ready:
                retry = self._retry(attempt, "the cluster preempted and restarted it", watcher)
                if retry is not None:
                    self._active[ticket] = replace(retry, ready=True)
                else:
                    del self._active[ticket]
                    self.cluster.cancel([ticket])
            case Ready():
                attempt.mark_started(watcher)
            case EpochDone(point=point, memory=memory):
                attempt.mark_started(watcher)
                attempt.builder.curve.append(point)
                watcher.epoch(attempt.builder.job, point, memory)
            case Done(record=record):
                attempt.mark_started(watcher)
                del self._active[ticket]
                self._ended.append(record)

    def _retry(self, attempt: _Attempt, reason: str, watcher: Watcher) -> _Attempt | None:
        """The next attempt; None after the last one, which is then recorded as crashed."""
        if attempt.number >= MAX_ATTEMPTS:
            reason = f"lost {attempt.number} times, the last time because {reason}"
            error = Failure(type="WorkerLost", message=reason)
            self._ended.append(attempt.builder.record("crashed", error))
            return None
        error = Failure(type="WorkerLost", message=reason)
        watcher.lost(attempt.builder.record("interrupted", error))
        return _Attempt(
            builder=RecordBuilder(job=attempt.builder.job),
            number=attempt.number + 1,
            shown=attempt.shown,
        )


def node_versions(device: str, cluster_package: str) -> Versions:
    """Machine and versions, which must be equal on all nodes for runs to be comparable.

    Args:
        cluster_package: The package that submits jobs to the cluster.
    """
    names = ("torch", cluster_package, "pipeline-bench")
    packages = {name: str(package_version(name)) for name in names}
    return {"machine": machine_name(device), "python": platform.python_version()} | packages


def check_node(device: str, cluster_package: str, expected: Versions) -> None:
    """Compares this node with `node_versions` of the process that writes the records.

    Raises:
        NodeMismatch: It has other versions, or is a different machine.
    """
    actual = node_versions(device, cluster_package)
    different = [
        f"{name} {actual[name]} instead of {expected[name]}"
        for name in expected
        if actual[name] != expected[name]
    ]
    if different:
        raise NodeMismatch(
            f"the {cluster_package.capitalize()} node {socket.gethostname()} has "
            f"{', '.join(different)}: make them the same, or remove the node from the cluster"
        )


def run_job(
    encoded_job: bytes,
    timeout_s: float,
    cluster_package: str,
    expected: Versions,
    threads: str | None,
) -> Iterator[bytes | Files]:
    """Runs one job on this node.

    Args:
        cluster_package: See `node_versions`.
        expected: `node_versions` of the process that writes the records.
        threads: Value of `THREADS` in that process.

    Yields:
        `Ready`, then the worker's messages, encoded; before the last one the files of the run.

    Raises:
        NodeMismatch: The node has other versions, or is a different machine.
    """
    job = msgspec.json.decode(encoded_job, type=Job)
    check_node(job.run.cell.device, cluster_package, expected)
    yield msgspec.json.encode(Ready(import_s=0.0))
    os.environ.pop(THREADS, None)
    if threads is not None:
        os.environ[THREADS] = threads
    executor = LocalExecutor(timeout_s=timeout_s)
    try:
        for message in executor.follow(job, RecordBuilder(job=job)):
            if isinstance(message, Done):
                executor.stop()  # the worker may still be writing
                yield collect_files(Path(job.folder), message.record)
            yield msgspec.json.encode(message)
    finally:
        executor.stop()


def collect_files(folder: Path, record: Record) -> Files:
    """Files of a run other than its record, by path in the group's folder."""
    return {name: path.read_bytes() for name, path in artifacts(folder, record).items()}


def save_files(job: Job, files: Files) -> None:
    """Writes the files of a run into the results folder, except for unchanged ones."""
    for name, content in files.items():
        path = Path(job.folder) / name
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
