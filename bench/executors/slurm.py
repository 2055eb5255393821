"""Jobs of a Slurm cluster, submitted as arrays by submitit.

A job does what `bench.executors.remote_job` says. Its words go into a file of its own in a folder
that all nodes see, a line each; this process reads on in it. What a run left lies there as one
file, for nodes that do not share the results folder. Nothing of this is ever unpickled here.

What `--slurm KEY=VALUE` may say; known without submitit.
"""

import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from bench.errors import UsageError
from bench.executors.protocol import read_message
from bench.executors.remote import Lost, News, Said
from bench.executors.remote_job import THREADS, Facts, NodeMismatch, facts, keep, serve_job
from bench.job import Job
from bench.process import run_briefly, signals_allowed, signals_raise, usable_cores
from bench.store.files import explained, write_atomically
from bench.store.store import Store
from pipelines.catalog import unknown_name
from pipelines.sources.places import default_data_dir

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """How jobs are submitted.

    Args:
        cluster: "slurm", or "local" for processes of this machine, to try a grid without Slurm.
        folder: Where jobs and their words are kept while they run; all nodes must see it.
        at_once: Jobs that are in the queue or run at once, at most.
        time_min: Of a job; left out, what the longest run may take and ten minutes more.
        cpus: Of a job; left out, what this process may use.
        mem_gb: Of a job; left out, what Slurm gives.
        exclusive: Whether a job has its node alone, which its times need.
        partition, account, qos, constraint: As in `sbatch`; left out, what Slurm gives.
    """

    cluster: str = "slurm"
    folder: Path | None = None
    at_once: int = 64
    time_min: int | None = None
    cpus: int | None = None
    mem_gb: int | None = None
    exclusive: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


def read_slurm_options(words: Sequence[str]) -> SlurmOptions:
    """The options that are spelled KEY=VALUE.

    Raises:
        UsageError: One has no such key or value, or a key comes twice.
    """
    known = [field.name for field in fields(SlurmOptions)]
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            raise UsageError(unknown_name("key of --slurm", key, known))
        if not equals or not value:
            raise UsageError(f"--slurm {word}: write {key}=VALUE")
        if key in found:
            raise UsageError(f"--slurm {key} is given twice: leave one of them out")
        found[key] = _value(key, value)
    return SlurmOptions(**found)  # type: ignore[arg-type]


def _value(key: str, value: str) -> object:
    if key in ("at_once", "time_min", "cpus", "mem_gb"):
        if not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**6):
            raise UsageError(f"--slurm {key}={value}: it must be a whole number from 1 to 999999")
        return int(value)
    if key == "exclusive":
        if value not in ("yes", "no"):
            raise UsageError(f"--slurm exclusive={value}: it is yes or no")
        return value == "yes"
    if key == "cluster" and value not in CLUSTERS:
        raise UsageError(unknown_name("value of --slurm cluster", value, list(CLUSTERS)))
    if key == "folder":
        return Path(value)
    if any(not character.isprintable() for character in value):
        raise UsageError(f"--slurm {key}: {value!r} has characters that sbatch cannot be given")
    return value


ENGINE = "submitit"
POLL_S = 0.5
STOP_S = 5.0  # after each of two attempts
ASK_S = 5.0  # between two looks at what has become of a job that says nothing
QUEUE_S = 2.0
SETTLE_S = 5.0  # that a shared file system may take to show what a job wrote last
BEYOND_MIN = 10  # of a job's time limit beyond its run's
DIFFERENT = b"different: "


def carry_out(line: bytes, words: str, timeout_s: float, ours: Facts, threads: str | None) -> None:
    """The job on its node: writes what `serve` yields.

    Args:
        line: The job, as a worker reads it.
        words: The file for its words; files that the run left go beside it.
        timeout_s: Longest that the run may take.
        ours: What the process that writes the store has.
        threads: That process's setting of `THREADS`.
    """
    with signals_raise(), Path(words).open("ab", buffering=0) as said:
        try:
            for message in serve_job(line, timeout_s, ENGINE, ours, threads):
                if isinstance(message, dict):
                    write_atomically(Path(words + ".files"), msgspec.msgpack.encode(message))
                else:
                    said.write(message + b"\n")
        except NodeMismatch as error:
            said.write(DIFFERENT + str(error).encode() + b"\n")


@dataclass(kw_only=True)
class _Sent:
    """A job that was submitted."""

    job: Job
    handle: "submitit.Job[None]"
    words: Path
    read: int = 0  # bytes
    asked: float = field(default_factory=time.monotonic)
    over_since: float | None = None


@dataclass(kw_only=True)
class SlurmCluster:
    """A `Cluster` of Slurm's nodes. A ticket is the name of a job's file.

    Args:
        options: How jobs are submitted.
        timeout_s: Longest that one run may take.
        told: Is told which jobs are queued.
    """

    options: SlurmOptions
    timeout_s: float
    told: Callable[[str], None]
    _ours: Facts
    _folder: Path
    _executor: Any
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _queue: set[str] | None = None
    _queue_seen: float = float("-inf")

    @classmethod
    def connect(
        cls, options: SlurmOptions, *, device: str, timeout_s: float, told: Callable[[str], None]
    ) -> "SlurmCluster":
        """Makes ready to submit.

        Raises:
            UsageError: This host cannot submit jobs.
            StoreError: The folder for the jobs cannot be made.
        """
        if options.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UsageError(
                "--executor slurm: there is no sbatch and srun on the PATH; call it on a host that "
                "submits to the cluster, or try it here with --slurm cluster=local"
            )
        parent = options.folder or default_data_dir() / "slurm"
        with explained(f"make a folder for jobs in {parent}"):
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=parent.resolve()))
        executor = submitit.AutoExecutor(folder=folder, cluster=options.cluster)
        executor.update_parameters(**parameters(options, device, timeout_s))
        return cls(
            options=options, timeout_s=timeout_s, told=told, _ours=facts(device, ENGINE),
            _folder=folder, _executor=executor,
        )  # fmt: skip

    def room(self) -> int:
        """As many as may be in the queue."""
        return self.options.at_once

    def begin(self, jobs: Sequence[Job]) -> list[str]:
        """Submits them, several as one array."""
        names = [f"{job.run.id}-{token_hex(4)}" for job in jobs]
        try:
            with self._executor.batch():
                handles = [self._submit(job, name) for job, name in zip(jobs, names, strict=True)]
        except (
            FailedJobError,
            FailedSubmissionError,
            subprocess.SubprocessError,
            OSError,
        ) as error:
            said = " ".join(str(error).split())
            raise UsageError(f"Slurm does not take the jobs: {said}") from error
        for job, name, handle in zip(jobs, names, handles, strict=True):
            self._sent[name] = _Sent(job=job, handle=handle, words=self._folder / name)
        first, last = handles[0].job_id, handles[-1].job_id
        which = f"job {first}" if len(jobs) == 1 else f"jobs {first} to {last}"
        self.told(f"{len(jobs)} in the queue as {which}")
        return names

    def _submit(self, job: Job, name: str) -> "submitit.Job[None]":
        Store(Path(job.folder)).fresh_log(job.run.id)
        line, words = msgspec.json.encode(job), str(self._folder / name)
        threads = os.environ.get(THREADS)
        handle: submitit.Job[None] = self._executor.submit(
            carry_out, line, words, self.timeout_s, self._ours, threads
        )
        return handle

    def news(self, tickets: Sequence[str]) -> list[News]:
        """All that has come; jobs that say nothing are asked after now and then."""
        found = [(ticket, said) for ticket in tickets for said in self._heard(self._sent[ticket])]
        spoke = {ticket for ticket, _ in found}
        for ticket in tickets:
            if ticket not in spoke and (lost := self._lost(self._sent[ticket])) is not None:
                found.append((ticket, lost))
        if not found:
            with signals_allowed():
                time.sleep(POLL_S)
        return found

    def _heard(self, sent: _Sent) -> list[Said]:
        """The messages that have come whole since the last time."""
        try:
            with sent.words.open("rb") as file:
                file.seek(sent.read)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        sent.read += len(whole) + len(newline)
        lines = whole.split(b"\n") if newline else []
        for line in lines:
            if line.startswith(DIFFERENT):
                raise UsageError(line.removeprefix(DIFFERENT).decode())
        if lines:
            with suppress(FileNotFoundError):  # it is written before the last word
                files = Path(f"{sent.words}.files").read_bytes()
                keep(sent.job, msgspec.msgpack.decode(files, type=dict[str, bytes]))
        return [read_message(line) for line in lines]

    def _lost(self, sent: _Sent) -> Lost | None:
        """That a job is over and has not said how its run ended, if so."""
        if sent.over_since is None:
            if time.monotonic() - sent.asked < ASK_S:
                return None
            sent.asked = time.monotonic()
            if self._over(sent.handle):
                sent.over_since = time.monotonic()
            return None
        if time.monotonic() - sent.over_since < SETTLE_S:
            return None
        return Lost(reason=f"its job {sent.handle.job_id} ended as {state(sent.handle)}")

    def _over(self, handle: "submitit.Job[None]", *, force: bool = False) -> bool:
        """Whether a job is over. submitit asks the accounting, which some clusters do not have."""
        if handle.done(force_check=force):
            return True
        if self.options.cluster != "slurm" or handle.state != "UNKNOWN":
            return False
        if time.monotonic() - self._queue_seen > QUEUE_S:
            self._queue, self._queue_seen = queued(), time.monotonic()
        return self._queue is not None and handle.job_id not in self._queue

    def stop(self, tickets: Sequence[str]) -> None:
        """Cancels these jobs, and waits some seconds for their end."""
        left = [self._sent[ticket].handle for ticket in tickets]
        for firmly in (False, True):
            for handle in left:
                self._cancel(handle, firmly=firmly)
            deadline = time.monotonic() + STOP_S
            while left and time.monotonic() < deadline:
                left = [handle for handle in left if not self._over(handle, force=True)]
                if left:
                    time.sleep(POLL_S)
        if left:
            jobs = ", ".join(handle.job_id for handle in left)
            self.told(f"cancelled, but not seen to have ended: {jobs}")

    def _cancel(self, handle: "submitit.Job[None]", *, firmly: bool) -> None:
        with suppress(OSError, subprocess.SubprocessError):
            if self.options.cluster == "local" and not firmly:
                os.kill(int(handle.job_id), signal.SIGTERM)  # `cancel` leaves a traceback here
            else:
                handle.cancel(check=False)

    def close(self) -> None:
        """Removes what the jobs have written beside the results."""
        shutil.rmtree(self._folder, ignore_errors=True)


def parameters(options: SlurmOptions, device: str, timeout_s: float) -> dict[str, Any]:
    """How each job is submitted, in submitit's words."""
    wanted = {
        "timeout_min": options.time_min or math.ceil(timeout_s / 60) + BEYOND_MIN,
        "cpus_per_task": options.cpus or usable_cores(),
        "gpus_per_node": 1 if device == "cuda" else 0,
        "tasks_per_node": 1,
    }
    slurm = {
        "job_name": "pipeline-bench",
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "mem": None if options.mem_gb is None else f"{options.mem_gb}GB",
        "exclusive": True if options.exclusive else None,
        "array_parallelism": options.at_once,
    }
    given = {f"slurm_{name}": value for name, value in slurm.items() if value is not None}
    return wanted | given


def queued() -> set[str] | None:
    """The jobs of this user that wait or run; None where Slurm does not tell now."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
    said = run_briefly(command, timeout_s=30.0)
    return None if said.problem else set(said.text.split())


def state(handle: "submitit.Job[None]") -> str:
    """What has become of a job, and its last word on standard error."""
    with suppress(OSError, UnicodeDecodeError):
        said = (handle.stderr() or "").strip().splitlines()
        if said:
            return f"{handle.state}: {said[-1]}"
    return str(handle.state)
