"""Runs `run_job` on a Slurm cluster, submitted as job arrays by submitit.

Each job writes its messages, one per line, into a separate file in a folder that all nodes share,
and this process reads them. The files of the run are next to it.
"""

import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec

from bench.errors import UsageError, check_choice, shortened
from bench.executors.protocol import Message, read_message
from bench.executors.remote import (
    THREADS,
    Files,
    JobLost,
    NodeMismatch,
    Versions,
    node_versions,
    run_job,
    save_files,
)
from bench.job import Job
from bench.process import run_briefly, signals_allowed, signals_raise, usable_cores
from bench.store.files import explained, write_atomically
from bench.text import Log

if TYPE_CHECKING:
    import submitit

PACKAGE = "submitit"
CLUSTERS = ("slurm", "local")
POLL_S = 0.5
CANCEL_TIMEOUT_S = 5.0  # for each of two attempts
STATE_INTERVAL_S = 5.0  # between state queries of a silent job
QUEUE_INTERVAL_S = 2.0
SETTLE_S = 5.0  # a shared file system may delay the last messages
EXTRA_MIN = 10  # added to the time limit of a run for its job
MISMATCH = b"mismatch: "
FILES = ".files"


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """The keys of `--slurm`; unless noted, None means Slurm's default."""

    cluster: str = "slurm"  # or "local": processes of this machine, for trials without Slurm
    folder: Path | None = None  # for messages, shared by all nodes; None: in the data cache
    at_once: int = 64  # maximum number of queued and running jobs
    time_min: int | None = None  # None: the time limit of a run plus `EXTRA_MIN`
    cpus: int | None = None  # None: the number that this process may use
    mem_gb: int | None = None
    exclusive: bool = False  # one job per node, needed for sound timing
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


def read_slurm_options(words: Sequence[str]) -> SlurmOptions:
    """Reads options given as KEY=VALUE; UsageError if one is invalid or given twice."""
    known = [field.name for field in fields(SlurmOptions)]
    values: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        check_choice("key of --slurm", key, known)
        if not equals or not value:
            raise UsageError(f"--slurm {word}: write {key}=VALUE")
        if key in values:
            raise UsageError(f"--slurm {key} is given twice: leave one of them out")
        values[key] = _option_value(key, value)
    return SlurmOptions(**values)  # type: ignore[arg-type]


def _option_value(key: str, value: str) -> object:
    if key in ("at_once", "time_min", "cpus", "mem_gb"):
        if not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**6):
            raise UsageError(f"--slurm {key}={value}: expected a whole number from 1 to 999999")
        return int(value)
    if key == "exclusive":
        if value not in ("yes", "no"):
            raise UsageError(f"--slurm exclusive={value}: expected yes or no")
        return value == "yes"
    if key == "cluster":
        check_choice("value of --slurm cluster", value, CLUSTERS)
    if not value.isprintable():
        raise UsageError(f"--slurm {key}: {value!r} has characters that sbatch does not accept")
    return Path(value) if key == "folder" else value


def sbatch_parameters(options: SlurmOptions, device: str, timeout_s: float) -> dict[str, Any]:
    """The job options in submitit's names."""
    common = {
        "timeout_min": options.time_min or math.ceil(timeout_s / 60) + EXTRA_MIN,
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
    return common | {f"slurm_{key}": value for key, value in slurm.items() if value is not None}


def run_and_write(
    encoded_job: bytes, messages: str, timeout_s: float, expected: Versions, threads: str | None
) -> None:
    """The job on its node: writes the output of `run_job` into the file `messages`."""
    with signals_raise(), Path(messages).open("ab", buffering=0) as file:
        try:
            for message in run_job(encoded_job, timeout_s, PACKAGE, expected, threads):
                if isinstance(message, dict):
                    write_atomically(Path(messages + FILES), msgspec.msgpack.encode(message))
                else:
                    file.write(message + b"\n")
        except NodeMismatch as error:
            file.write(MISMATCH + str(error).encode() + b"\n")


@dataclass(kw_only=True)
class _Submitted:
    job: Job
    handle: "submitit.Job[None]"
    messages: Path
    bytes_read: int = 0
    state_checked: float = field(default_factory=time.monotonic)
    ended: float | None = None


@dataclass(kw_only=True)
class SlurmCluster:
    """A `Cluster` of Slurm nodes; a ticket is the name of a job's file of messages."""

    options: SlurmOptions
    timeout_s: float
    log: Log
    _versions: Versions
    _folder: Path
    _executor: Any
    _submitted: dict[str, _Submitted] = field(default_factory=dict)
    _queue: set[str] | None = None
    _queue_time: float = float("-inf")

    @classmethod
    def connect(
        cls, options: SlurmOptions, *, device: str, timeout_s: float, log: Log
    ) -> "SlurmCluster":
        """Creates the folder for messages and the submitit executor; UsageError without Slurm."""
        import submitit

        if options.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UsageError(
                "--executor slurm: sbatch and srun are not on the PATH. Run this on a host that "
                "submits to the cluster, or try it here with --slurm cluster=local"
            )
        from pipelines.sources.places import default_data_dir  # imports numpy

        parent = options.folder or default_data_dir() / "slurm"
        with explained(f"make a folder for jobs in {parent}"):
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=parent.resolve()))
        executor = submitit.AutoExecutor(folder=folder, cluster=options.cluster)
        executor.update_parameters(**sbatch_parameters(options, device, timeout_s))
        return cls(
            options=options,
            timeout_s=timeout_s,
            log=log,
            _versions=node_versions(device, PACKAGE),
            _folder=folder,
            _executor=executor,
        )

    def capacity(self) -> int:
        """The maximum number of queued and running jobs."""
        return self.options.at_once

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        """Submits jobs, several as one array."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        errors = (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError)
        tickets = [f"{job.run.id}-{token_hex(4)}" for job in jobs]
        try:
            with self._executor.batch():
                handles = [
                    self._executor.submit(
                        run_and_write,
                        msgspec.json.encode(job),
                        str(self._folder / ticket),
                        self.timeout_s,
                        self._versions,
                        os.environ.get(THREADS),
                    )
                    for job, ticket in zip(jobs, tickets, strict=True)
                ]
        except errors as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"Slurm does not accept the jobs: {reason}") from error
        for job, ticket, handle in zip(jobs, tickets, handles, strict=True):
            messages = self._folder / ticket
            self._submitted[ticket] = _Submitted(job=job, handle=handle, messages=messages)
        first, last = handles[0].job_id, handles[-1].job_id
        self.log(f"queued: job {first}" if len(jobs) == 1 else f"queued: jobs {first} to {last}")
        return tickets

    def poll(self, tickets: Sequence[str]) -> list[tuple[str, Message | JobLost]]:
        """All new messages; the state of silent jobs is queried from time to time."""
        news: list[tuple[str, Message | JobLost]] = []
        for ticket in tickets:
            submitted = self._submitted[ticket]
            messages = self._new_messages(submitted)
            news += [(ticket, message) for message in messages]
            if not messages and (lost := self._lost(submitted)) is not None:
                news.append((ticket, lost))
        if not news:
            with signals_allowed():
                time.sleep(POLL_S)
        return news

    def _new_messages(self, submitted: _Submitted) -> list[Message]:
        """Complete lines that were written since the last call."""
        try:
            with submitted.messages.open("rb") as file:
                file.seek(submitted.bytes_read)
                complete, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        if not newline:
            return []
        submitted.bytes_read += len(complete) + 1
        lines = complete.split(b"\n")
        for line in lines:
            if line.startswith(MISMATCH):
                raise UsageError(line.removeprefix(MISMATCH).decode())
        with suppress(FileNotFoundError):  # written before the last message
            files = Path(f"{submitted.messages}{FILES}").read_bytes()
            save_files(submitted.job, msgspec.msgpack.decode(files, type=Files))
        return [read_message(line) for line in lines]

    def _lost(self, submitted: _Submitted) -> JobLost | None:
        """The loss of a job that ended without a record `SETTLE_S` ago."""
        now = time.monotonic()
        if submitted.ended is not None:
            if now - submitted.ended < SETTLE_S:
                return None
            state = _final_state(submitted.handle)
            return JobLost(reason=f"its job {submitted.handle.job_id} ended as {state}")
        if now - submitted.state_checked >= STATE_INTERVAL_S:
            submitted.state_checked = now
            if self._has_ended(submitted.handle):
                submitted.ended = time.monotonic()
        return None

    def _has_ended(self, handle: "submitit.Job[None]", *, force: bool = False) -> bool:
        """submitit queries the accounting; clusters without one are asked for the queue."""
        if handle.done(force_check=force):
            return True
        if self.options.cluster != "slurm" or handle.state != "UNKNOWN":
            return False
        if time.monotonic() - self._queue_time > QUEUE_INTERVAL_S:
            self._queue, self._queue_time = _queued_jobs(), time.monotonic()
        return self._queue is not None and handle.job_id not in self._queue

    def cancel(self, tickets: Sequence[str]) -> None:
        """Cancels jobs and waits some seconds for their end."""
        left = [self._submitted[ticket].handle for ticket in tickets]
        for force in (False, True):
            for handle in left:
                with suppress(OSError, subprocess.SubprocessError):
                    if self.options.cluster == "local" and not force:
                        os.kill(int(handle.job_id), signal.SIGTERM)  # `cancel` prints more
                    else:
                        handle.cancel(check=False)
            deadline = time.monotonic() + CANCEL_TIMEOUT_S
            while left and time.monotonic() < deadline:
                left = [handle for handle in left if not self._has_ended(handle, force=True)]
                if left:
                    time.sleep(POLL_S)
        if left:
            jobs = ", ".join(handle.job_id for handle in left)
            self.log(f"cancelled, but not yet ended: {jobs}")

    def close(self) -> None:
        """Removes the folder for messages."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _queued_jobs() -> set[str] | None:
    """This user's queued and running jobs; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
    answer = run_briefly(command, timeout_s=30.0)
    return None if answer.problem else set(answer.text.split())


def _final_state(handle: "submitit.Job[None]") -> str:
    """The state of a job and its last line of standard error."""
    with suppress(OSError, UnicodeDecodeError):
        lines = (handle.stderr() or "").strip().splitlines()
        if lines:
            return f"{handle.state}: {shortened(lines[-1])}"
    return str(handle.state)
