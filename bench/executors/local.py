"""Trains runs in worker processes on this machine, one at a time.

A worker is reused as long as its runs succeed and the next run has the same compiled model. After
a failure, including a failed CUDA graph capture, it is replaced, as the device or the libraries may
be in an undefined state.

Where there may be a GPU, the first worker is started before planning, which needs to know the
device. Only another process may touch the device, so this worker probes it and then imports what
runs need. Elsewhere it is started when the plan has found something to run.
"""

import fcntl
import os
import re
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.errors import LONGEST_TRACEBACK, shortened
from bench.executors.base import Watcher
from bench.executors.protocol import (
    PROBE,
    STARTUP_TIMEOUT_S,
    Done,
    EpochDone,
    Probed,
    Ready,
    Worker,
    WorkerLost,
    WorkerSilent,
    read_message,
)
from bench.job import Job, RecordBuilder
from bench.machine import environment
from bench.machine.environment import PROBE_TIMEOUT_S, Probe
from bench.process import SILENCE_S, import_in_background, signals_allowed, signals_deferred
from bench.record import Failure, Record
from bench.store.files import StoreError, explained
from bench.store.store import Store

# Not in TMPDIR, which clusters set to a different folder for each job.
LOCK = Path("/tmp/pipeline-bench.timing")
LOCK_POLL_S = 0.2
FATAL_ERROR = "Fatal Python error"
TAIL_BYTES = 2**20
_LIBRARY_FRAME = re.compile(
    r'File ".*/(?:site|dist)-packages/(?P<library>nvidia/\w+|\w+)(?:/.*)?/(?P<file>[^/"]+)", '
    r"line (?P<line>\d+)"
)


@contextmanager
def timing_lock(lock: Path = LOCK) -> Iterator[None]:
    """Waits for the lock, held by no other process of this host; StoreError if it is unusable."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # it may belong to another user
    with ExitStack() as stack:
        try:
            try:
                descriptor = os.open(lock, flags)
            except FileNotFoundError:
                descriptor = os.open(lock, flags | os.O_CREAT, 0o644)
            stack.callback(os.close, descriptor)
            while not _lock(descriptor):
                with signals_allowed():
                    time.sleep(LOCK_POLL_S)
        except OSError as error:
            raise StoreError(
                f"--exclusive-timing: {lock}, which lets only one run per host train, cannot be "
                f"locked ({error.strerror}): remove it, or leave the option out"
            ) from error
        yield


def _lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@dataclass(kw_only=True)
class LocalExecutor:
    """Trains jobs one after another; see `Executor`.

    Args:
        prestart: Whether to start the next worker while the current one trains. Useful on a GPU; on
            a CPU it would disturb the timing.
    """

    timeout_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    prestart: bool = False
    next_worker: Worker | None = None
    worker: Worker | None = None
    _builder: RecordBuilder | None = None

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """Yields one record per job, in order; see `Executor.run`."""
        try:
            for job in jobs:
                watcher.started(job)
                record = self._train(job, watcher)
                if record.ends_worker:
                    self.stop()
                self._builder = None
                yield record
        finally:
            self.close()

    def interrupted(self) -> list[Record]:
        """The record of the job that was running when the iterator was closed, if any."""
        return [] if self._builder is None else [interrupted_record(self._builder)]

    def _train(self, job: Job, watcher: Watcher) -> Record:
        builder = self._builder = RecordBuilder(job=job)
        for message in self.follow(job, builder):
            match message:
                case Done(record=record):
                    return record
                case EpochDone(point=point, memory=memory):
                    watcher.epoch(job, point, memory)
        raise AssertionError("a run ends with a record")

    def follow(self, job: Job, builder: RecordBuilder) -> Iterator[EpochDone | Done]:
        """Trains one job and yields the worker's messages; the last one is always `Done`.

        The builder collects the curve. The worker is kept for the next job until `stop`. Waiting
        for the timing lock of an exclusive job does not count as run time.
        """
        with timing_lock() if job.exclusive else nullcontext():
            for message in self._follow(job, builder):
                if isinstance(message, Done):
                    break
                yield message
        yield message  # after the lock is released: the caller may start the next job

    def _follow(self, job: Job, builder: RecordBuilder) -> Iterator[EpochDone | Done]:
        log = Store(Path(job.folder)).fresh_log(job.run.id)
        with explained(f"write {log}"):  # a running worker could not report it
            log.touch()
        try:
            worker = self._worker_for(job, log)
            worker.send(job)
            deadline = time.monotonic() + self.timeout_s
            while True:
                message = worker.receive(read_message, deadline)
                if isinstance(message, Ready):
                    continue
                if isinstance(message, EpochDone):
                    builder.curve.append(message.point)
                yield message
                if isinstance(message, Done):
                    return
        except TimeoutError:
            late = f"took longer than {self.timeout_s:g} s and was stopped (--timeout)"
            yield Done(record=builder.record("timeout", _failure("Timeout", late, log)))
        except WorkerLost as error:
            failure = _failure("WorkerLost", str(error), log, builder.job.run.cell.pipeline)
            yield Done(record=builder.record("crashed", failure))

    def _worker_for(self, job: Job, log: Path) -> Worker:
        """The current worker if it is alive and has the job's model, else a new one."""
        key = " ".join(job.run.worker_key)
        if self.worker is not None and (self.worker.key != key or not self.worker.is_alive):
            self.stop()
        worker = self.worker or self._new_worker(key, log)
        if self.prestart and self.next_worker is None:
            self.next_worker = Worker.start("", Path(os.devnull), environment=self.environment)
        return worker

    def _new_worker(self, key: str, log: Path) -> Worker:
        """The prestarted worker if it is alive, else a new one; waits until it is ready."""
        if self.next_worker is not None:
            self.worker, self.next_worker = self.next_worker, None
            self.worker.key = key
            try:
                worker = _wait_until_ready(self.worker)
            except WorkerSilent:
                raise
            except WorkerLost:  # it had no log; a second one logs the reason
                self.stop()
            else:
                if worker.is_alive:
                    return worker
                self.stop()  # it died while it waited
        self.worker = Worker.start(key, log, environment=self.environment)
        return _wait_until_ready(self.worker)

    def stop(self) -> None:
        """Ends the current worker, if there is one."""
        _stop(self.worker)
        self.worker = None

    def close(self) -> None:
        """Ends the current worker and the next one."""
        self.stop()
        _stop(self.next_worker)
        self.next_worker = None


def _wait_until_ready(worker: Worker) -> Worker:
    try:
        worker.receive(read_message, time.monotonic() + STARTUP_TIMEOUT_S, starts=True)
    except TimeoutError:
        raise WorkerLost(f"no worker was ready within {STARTUP_TIMEOUT_S:g} s") from None
    return worker


def _stop(worker: Worker | None) -> None:
    if worker is not None:
        with signals_deferred():
            worker.stop()


def _failure(kind: str, message: str, log: Path, pipeline: str = "") -> Failure:
    end = tail(log)
    if kind == "WorkerLost" and (place := crash_place(end, pipeline)):
        message = f"{message} in {place}"
    return Failure(type=kind, message=message, traceback=end, log=f"logs/{log.name}")


def crash_place(dump: str, pipeline: str) -> str:
    """The library of a `faulthandler` dump's innermost call: "torch (graph.py, line 9)", or ""."""
    _, found, threads = dump.partition(FATAL_ERROR)
    _, current, frames = threads.partition("Current thread")
    if found and not current:
        return f"a thread of a library, probably of the pipeline {pipeline}"
    frame = _LIBRARY_FRAME.search(frames)
    if frame is None:
        return ""
    return f"{frame['library'].replace('/', '.')} ({frame['file']}, line {frame['line']})"


def interrupted_record(builder: RecordBuilder) -> Record:
    """The record of a run that was interrupted."""
    error = Failure(type="Interrupted", message="stopped from outside before it was done")
    return builder.record("interrupted", error)


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log, or the first ones of a fatal error's report; "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    crashes = [at for at, line in enumerate(text) if line.startswith(FATAL_ERROR)]
    wanted = text[crashes[-1] : crashes[-1] + lines] if crashes else text[-lines:]
    return shortened("\n".join(wanted), LONGEST_TRACEBACK)


@dataclass(kw_only=True)
class WarmStart:
    """A probed device and a prestarted worker; close it at the end of the command.

    Args:
        worker: A worker without a run; None if there is none or it was taken.
        keep_worker: Whether `begin` starts one.
    """

    probe: Probe
    worker: Worker | None = None
    keep_worker: bool = False

    def begin(self) -> None:
        """Starts a worker, as there is something to run, and imports torch here meanwhile."""
        if self.keep_worker:
            self.worker = Worker.start("", Path(os.devnull))
            self.keep_worker = False
        with import_in_background("torch"):
            pass

    def take(self, device: str) -> Worker | None:
        """Returns the worker; one that has touched a GPU is not used for CPU runs."""
        if device == "cpu" and self.probe.cuda:
            self.close()
        worker, self.worker = self.worker, None
        return worker

    def close(self) -> None:
        """Ends the worker, unless it was taken."""
        _stop(self.worker)
        self.worker = None


def warm_start(*, keep_worker: bool) -> WarmStart:
    """Probes the device in another process, perhaps the first worker, and imports torch here.

    Without a driver there is nothing to probe, and nothing is started before `WarmStart.begin`.
    """
    if probe := environment.probe_without_torch():
        return WarmStart(probe=probe, keep_worker=keep_worker)
    with import_in_background("torch"):
        return _probing_worker() if keep_worker else WarmStart(probe=environment.probe())


def _probing_worker() -> WarmStart:
    """Starts a worker that probes the device first; keeps it if it could."""
    with ExitStack() as stack:
        try:
            worker = Worker.start("", Path(os.devnull), arguments=[PROBE])
            stack.callback(_stop, worker)
            deadline = time.monotonic() + PROBE_TIMEOUT_S
            probe = worker.receive(_read_probe, deadline, starts=True)
        except WorkerSilent:
            return WarmStart(probe=environment.timed_out(SILENCE_S))
        except TimeoutError:
            return WarmStart(probe=environment.timed_out(PROBE_TIMEOUT_S))
        except (OSError, StoreError, WorkerLost):
            stack.close()
            return WarmStart(probe=environment.probe())  # it reports what is wrong
        stack.pop_all()
        return WarmStart(probe=probe, worker=worker)


def _read_probe(line: bytes) -> Probe:
    return msgspec.json.decode(line, type=Probed).probe
