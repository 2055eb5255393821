"""Runs jobs in worker processes on this machine, one at a time.

A worker keeps its process as long as its runs end well and the next job shares its compiled model.
A run that ends otherwise, or whose CUDA graph failed, ends its worker: the device or the libraries
may be in any state.

One run at a time on a host, among all that ask for it, whoever called them.
"""

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from bench.executors.base import Watcher
from bench.executors.protocol import Done, EpochDone, Message, Ready, read_message, send
from bench.job import Job, RecordBuilder
from bench.machine.environment import python_environment, python_module
from bench.process import MARK, kill_marked, new_mark, signals_allowed, signals_deferred
from bench.record import Failure, Record
from bench.store.files import StoreError, explained
from bench.store.store import Store

# Not the temporary folder that TMPDIR names: clusters give each job one of its own.
LOCK = Path("/tmp/pipeline-bench.timing")
LOCK_POLL_S = 0.2


@contextmanager
def timing_lock(lock: Path = LOCK) -> Iterator[None]:
    """Waits for its turn, and has it until the end of the block, or of the process.

    Raises:
        StoreError: The lock file cannot be had.
    """
    descriptor = _opened(lock)
    try:
        while not _taken(descriptor, lock):
            with signals_allowed():
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> int:
    """Of another user's file too, which can be locked without being written."""
    try:
        try:
            return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refused(lock, error) from error


def _taken(descriptor: int, lock: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _refused(lock, error) from error
    return True


def _refused(lock: Path, error: OSError) -> StoreError:
    return StoreError(
        f"--exclusive-timing: {lock}, by which runs of a host take turns, cannot be locked "
        f"({error.strerror}): remove it, or leave the option out"
    )


STARTUP_TIMEOUT_S = 300.0
TERM_GRACE_S = 3.0
# Threads that spin while they wait for each other make steps twenty times slower as soon as any
# other process wants the core; asleep they cost next to nothing. And glibc hands every large tensor
# back to the system, which clears its pages anew at each step: a sixth of a CPU's step of 2,000
# images. Both are read when the process starts; what the user has set goes first.
SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
POLL_S = 1.0
CRASH = "Fatal Python error"
MessageT = TypeVar("MessageT")


class WorkerLost(RuntimeError):
    """The worker died, or took longer than it may."""


@dataclass(kw_only=True)
class Worker:
    """One child process and the pipe that its messages come through."""

    process: "subprocess.Popen[bytes]"
    key: str
    mark: str = ""
    buffer: bytes = b""
    lines: list[bytes] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        key: str,
        log: Path,
        *,
        module: str = "bench.executors.worker",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> "Worker":
        """Starts a worker in a process group of its own; what it prints goes to `log`."""
        mark = new_mark()
        with explained(f"write {log}"):
            output = log.open("ab")
        with output:
            process = subprocess.Popen(
                python_module(module),
                env=SETTINGS | python_environment() | dict(settings) | {MARK: mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        return cls(process=process, key=key, mark=mark)

    def send(self, job: Job | msgspec.Struct) -> None:
        """Hands the worker a job; a worker that is gone is noticed when it is read from."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            send(self.process.stdin, job)

    def receive(self, deadline: float) -> Message:
        """The next message of a run's worker; see `read`."""
        return self.read(deadline, read_message)

    def read(self, deadline: float, decode: Callable[[bytes], MessageT]) -> MessageT:
        """The next line, as what `decode` makes of it.

        Raises:
            TimeoutError: None came before `deadline` (monotonic seconds).
            WorkerLost: The worker died first, or sent what is no message.
        """
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while not self.lines:
            left = max(0.0, deadline - time.monotonic())
            # What a dead worker forked may hold its pipe open, so its end is not seen there alone.
            gone = self.process.poll() is not None
            with signals_allowed():
                readable = select.select([descriptor], [], [], 0 if gone else min(left, POLL_S))[0]
            # Who was asleep beyond the deadline reads first what came meanwhile.
            if not (readable or gone or left):
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 16) if readable else b""
            if not chunk and (gone or readable):
                raise WorkerLost(cause_of_death(self.process.wait()))
            *self.lines, self.buffer = (self.buffer + chunk).split(b"\n")
        try:
            return decode(self.lines.pop(0))
        except msgspec.DecodeError as error:
            raise WorkerLost(f"the worker sent what is no message: {error}") from error

    def stop(self) -> None:
        """Ends the worker and every process it started: SIGTERM, then SIGKILL to the group.

        Then SIGKILL to those that have left the group.
        """
        for stop_signal in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a zombie
                os.killpg(self.process.pid, stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(TERM_GRACE_S)
        kill_marked(self.mark)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


@dataclass(kw_only=True)
class LocalExecutor:
    """Runs jobs one after another.

    Args:
        timeout_s: Longest that one run may take.
        settings: Of the workers' environment, above what they have anyhow.
        ahead: Whether the worker after the present one is started, and imports, while that one
            trains. Of use on a GPU; on a CPU it would disturb what is timed.
        next_worker: Has been started, and waits for a job or will.
    """

    timeout_s: float
    settings: Mapping[str, str] = field(default_factory=dict)
    ahead: bool = False
    next_worker: Worker | None = None
    _worker: Worker | None = None
    _draft: RecordBuilder | None = None

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """One record a job, in the given order; see `Executor.run`."""
        try:
            for job in jobs:
                watcher.started(job)
                record = self._run_one(job, watcher)
                if record.ends_worker:
                    self.stop()
                self._draft = None
                yield record
        finally:
            self.close()

    def interrupted(self) -> list[Record]:
        """The record of the job that was cut off when the iterator was closed, if one was."""
        return [] if self._draft is None else [cut_off(self._draft)]

    def _run_one(self, job: Job, watcher: Watcher) -> Record:
        draft = self._draft = RecordBuilder(job=job)
        for message in self.follow(job, draft):
            match message:
                case Done(record=record):
                    return record
                case EpochDone(point=point, memory=memory):
                    if memory is not None:
                        watcher.memory(memory)
                    watcher.epoch(job, point)
        raise AssertionError("a run ends with a record")

    def follow(self, job: Job, draft: RecordBuilder) -> Iterator[EpochDone | Done]:
        """What the worker says of one job, `Done` last, whatever happens; the draft learns of it.

        The worker then waits for the next job, until `stop`. One that has to be alone on its host
        is begun in its turn; what it waits for that is not its time.
        """
        with timing_lock() if job.alone else nullcontext():
            for message in self._follow(job, draft):
                if isinstance(message, Done):
                    break
                yield message
        yield message  # with its turn over: whoever hears it may begin the next

    def _follow(self, job: Job, draft: RecordBuilder) -> Iterator[EpochDone | Done]:
        log = Store(Path(job.folder)).fresh_log(job.run.id)
        with explained(f"write {log}"):  # a worker that has begun already could not say so
            log.touch()
        try:
            worker = self._worker_for(job, log)
            worker.send(job)
            deadline = time.monotonic() + self.timeout_s
            while True:
                message = worker.receive(deadline)
                if isinstance(message, Ready):
                    continue
                if isinstance(message, EpochDone):
                    draft.curve.append(message.point)
                yield message
                if isinstance(message, Done):
                    return
        except TimeoutError:
            late = f"took longer than {self.timeout_s:g} s and was stopped (--timeout)"
            yield Done(record=draft.record("timeout", self._failure("Timeout", late, log)))
        except WorkerLost as error:
            failure = self._failure("WorkerLost", str(error), log)
            yield Done(record=draft.record("crashed", failure))

    def _worker_for(self, job: Job, log: Path) -> Worker:
        """The present worker if it lives and has the job's model, else a new one that is ready."""
        key = " ".join(job.run.worker_key)
        present = self._worker
        if present is not None and (present.key != key or present.process.poll() is not None):
            self.stop()
        worker = self._worker or self._hire(key, log)
        if self.ahead and self.next_worker is None:
            self.next_worker = Worker.start("", Path(os.devnull), settings=self.settings)
        return worker

    def _hire(self, key: str, log: Path) -> Worker:
        """A worker that says that it is ready: the next one, if it lives, or a new one."""
        if self.next_worker is not None:
            self._worker, self.next_worker = self.next_worker, None
            self._worker.key = key
            try:
                return _ready(self._worker)
            except WorkerLost:  # what it said is lost; another says it again
                self.stop()
        self._worker = Worker.start(key, log, settings=self.settings)
        return _ready(self._worker)

    def _failure(self, kind: str, message: str, log: Path) -> Failure:
        return Failure(type=kind, message=message, traceback=tail(log), log=f"logs/{log.name}")

    @property
    def worker(self) -> Worker | None:
        """The present one."""
        return self._worker

    def stop(self) -> None:
        """Ends the worker, if there is one."""
        if self._worker is not None:
            with signals_deferred():
                self._worker.stop()
            self._worker = None

    def close(self) -> None:
        """Ends the worker and the one after it."""
        self.stop()
        self._end_next()

    def _end_next(self) -> None:
        if self.next_worker is not None:
            with signals_deferred():
                self.next_worker.stop()
            self.next_worker = None


def _ready(worker: Worker) -> Worker:
    try:
        worker.receive(time.monotonic() + STARTUP_TIMEOUT_S)
    except TimeoutError:
        raise WorkerLost(f"no worker was ready in {STARTUP_TIMEOUT_S:g} s") from None
    return worker


def cut_off(draft: RecordBuilder) -> Record:
    """The record of a run that was stopped in the middle."""
    error = Failure(type="Interrupted", message="stopped from outside before it was done")
    return draft.record("interrupted", error)


def cause_of_death(code: int) -> str:
    """A sentence for a worker's exit code, negative when a signal killed it."""
    if code >= 0:
        return f"the worker ended by itself with exit code {code}"
    name = signal.Signals(-code).name
    hint = " (out of host memory?)" if -code == signal.SIGKILL else ""
    return f"the worker was killed by signal {-code} {name}{hint}"


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log file; empty when there is none.

    Of a crash that Python itself reports, innermost call first, it is the beginning of the report.
    """
    try:
        said = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    crash = max((at for at, line in enumerate(said) if line.startswith(CRASH)), default=None)
    return "\n".join(said[-lines:] if crash is None else said[crash : crash + lines])
