"""Signals, child processes and the end of this process.

Stop signals interrupt a grid where that is safe and are deferred elsewhere. No process is left
behind: Linux kills a worker when its parent dies for any reason. A guard, a small process that the
worker forks first, then ends the worker's children (DataLoader workers, a compiler). It finds them
by their process group or, if they have left it, by a mark in their environment.
"""

import atexit
import ctypes
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TextIO, TypeVar

from bench.errors import UsageError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

    from _typeshed import ReadableBuffer

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt like Ctrl-C; ignored signals stay ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(stop):
        yield


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Delays stop signals until the end of the block, for example until a record is written.

    A signal mask is not enough: another thread without it may receive the signal.
    """
    deferring = _Deferring()
    try:
        with _handled(deferring):
            yield
    finally:
        for number in deferring.pending:
            signal.raise_signal(number)


@contextmanager
def signals_allowed(*, earlier: bool = True) -> Iterator[None]:
    """Lets stop signals through inside `signals_deferred`, for a wait that may take long.

    A stop raises KeyboardInterrupt once; it is not raised again at the end of `signals_deferred`.
    Outside of it, and in threads other than the main one, this does nothing.

    Args:
        earlier: Whether a signal that was deferred before raises at once.
    """
    handlers = (signal.getsignal(number) for number in STOP_SIGNALS)
    deferring = next((handler for handler in handlers if isinstance(handler, _Deferring)), None)
    if deferring is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    deferring.raises = True
    try:
        if deferring.pending and earlier:
            deferring.stop()
        yield
    finally:
        deferring.raises = False


@dataclass(kw_only=True)
class _Deferring:
    """A signal handler that remembers signals, or raises while it is allowed to."""

    pending: dict[int, None] = field(default_factory=dict)
    raises: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pending[number] = None
        if self.raises:
            self.stop()

    def stop(self) -> None:
        """Raises now, and defers signals again from here on."""
        self.raises = False
        self.pending.clear()
        raise KeyboardInterrupt


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never reach it
        return
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def exit_without_teardown(command: Callable[[], None]) -> None:
    """Runs a whole program, then exits without the interpreter's teardown, which takes a second.

    Exit handlers are called and output is flushed first. A program that raises anything but
    SystemExit with a number ends as usual.
    """
    codes: list[int] = []
    atexit.register(_end, codes)  # registered first, so called last
    try:
        command()
        codes.append(0)
    except SystemExit as error:
        if isinstance(error.code, int):
            codes.append(error.code)
        raise


def _end(codes: list[int]) -> None:
    if not codes:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # Python itself reports a closed pipe
        return
    os._exit(codes[0])


MARK = "PIPELINE_BENCH_WORKER"
POLL_MS = 1000
KILL_S = 5.0


def new_mark() -> str:
    """A new value of the environment variable `MARK`."""
    return token_hex(8)


def die_with_parent() -> None:
    """Makes sure that neither this process nor its descendants outlive its parent.

    Call it first, in a process that leads a process group and whose standard input is a pipe that
    only its parent writes to.
    """
    import_module("psutil")  # before the fork: later the guard may be unable to read files
    parent, worker = os.getppid(), os.getpid()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call above
            os._exit(1)
    if os.getpgrp() == worker and os.fork() == 0:
        _guard(worker)


def _guard(worker: int) -> NoReturn:
    """Waits until the worker or its parent is gone and kills the remaining processes."""
    try:
        os.setsid()  # so that it isn't killed with the worker's group
        devnull = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):  # the message pipe must close with the worker
            os.dup2(devnull, descriptor)
        lifeline = select.poll()
        lifeline.register(0, 0)  # no events: reports only that the other end closed
        while os.getppid() == worker and not lifeline.poll(POLL_MS):
            pass
        kill_marked(os.environ.get(MARK, ""))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
    finally:
        os._exit(0)


def kill_marked(mark: str) -> None:
    """Kills all other processes that were started with this mark, and waits until they are gone."""
    deadline = time.monotonic() + KILL_S
    while (pids := marked_processes(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def marked_processes(mark: str) -> list[int]:
    """Ids of the other living processes that were started with this mark."""
    import psutil  # late import: quick commands do not need it

    pids = []
    for process in psutil.process_iter() if mark else ():
        with suppress(psutil.Error):  # it has ended, or belongs to another user
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                pids.append(process.pid)
    return pids


SILENCE_S = 55.0  # without work, until a process that should start counts as stuck
LOOK_S = 2.0
LEAST_CPU_S = 0.2  # more than a thread that only looks now and then if it may go on
LEAST_BYTES = 2**16


class Pulse:
    """Whether something works: uses the CPU, or reads.

    Args:
        work: Seconds of CPU time used so far, and bytes read.
    """

    def __init__(self, work: Callable[[], tuple[float, int]]) -> None:
        self._work = work
        self._looked_s = self._worked_s = time.monotonic()
        self._seen = work()

    def is_silent(self) -> bool:
        """Whether it has done nothing for `SILENCE_S`, or since this was made; cheap to ask."""
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_S:
            work, self._looked_s = self._work(), now_s
            if abs(work[0] - self._seen[0]) > LEAST_CPU_S or work[1] - self._seen[1] > LEAST_BYTES:
                self._seen, self._worked_s = work, now_s
        return now_s - self._worked_s > SILENCE_S


def pulse_of(pid: int) -> Pulse:
    """The pulse of another process and its descendants."""
    import psutil  # late import: quick commands do not need it

    def work() -> tuple[float, int]:
        cpu_s, read_bytes = 0.0, 0
        with suppress(psutil.Error):  # they have ended
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    cpu_s += sum(each.cpu_times()[:4])
                    if hasattr(each, "io_counters"):  # not on macOS
                        read_bytes += getattr(each.io_counters(), "read_chars", 0)
        return cpu_s, read_bytes

    return Pulse(work)


class ForkLost(RuntimeError):
    """A fork has crashed, or does nothing; the message says which."""


class Forked(Generic[QuestionT, AnswerT]):
    """Calls a function in a fork of this process, so that a crash ends only the fork.

    The fork is kept for the next call until `close`. Without forks, calls it in this process.
    """

    def __init__(self, function: Callable[[QuestionT], AnswerT]) -> None:
        self._function = function
        self._process: ForkProcess | None = None

    def __call__(self, question: QuestionT) -> AnswerT:
        """The function's result.

        Raises:
            ForkLost: The fork has crashed, or does nothing.
        """
        if sys.platform != "linux":
            return self._function(question)
        if self._process is None:
            self._start()
        process, pipe = self._process, self._pipe
        assert process is not None
        try:
            pipe.send(question)
            pulse: Pulse | None = None
            while not pipe.poll(LOOK_S):
                pulse = pulse or pulse_of(process.pid or 0)
                if pulse.is_silent():
                    raise ForkLost(f"it did nothing for {SILENCE_S:g} s")
            answer: AnswerT = pipe.recv()
        except (EOFError, OSError):
            process.join()
            code = process.exitcode or 0
            how = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            self.close()
            raise ForkLost(f"its process {how}") from None
        except BaseException:
            self.close()
            raise
        return answer

    def _start(self) -> None:
        from multiprocessing import get_context  # late import: quick commands do not need it

        fork = get_context("fork")
        self._pipe, end = fork.Pipe()
        self._process = fork.Process(target=self._serve, args=(end,), daemon=True)
        self._process.start()
        end.close()

    def _serve(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe.close()  # so that it ends with its parent
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if torch := sys.modules.get("torch"):
            # A fork loses torch's threads; two threads that notice at once end the process.
            torch.set_num_threads(1)
        with suppress(EOFError):
            while True:
                pipe.send(self._function(pipe.recv()))

    def close(self) -> None:
        """Ends the fork, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


class _LossyWriter(io.RawIOBase):
    """Writes to a borrowed descriptor and drops what cannot be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: "ReadableBuffer") -> int:
        view = memoryview(data)
        with suppress(OSError):
            os.write(self._descriptor, view)
        return view.nbytes


def tolerate_full_disk(descriptor: int) -> TextIO:
    """A text stream over a descriptor, such as 1, whose writes never fail; flushed at each line."""
    raw = io.BufferedWriter(_LossyWriter(descriptor))
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)


GIVE_UP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a program printed.

    Args:
        problem: Why it failed, in one line; "" if it succeeded.
    """

    text: str = ""
    problem: str = ""
    missing: bool = False


def run_briefly(command: Sequence[str], *, timeout_s: float = 10.0) -> Output:
    """Runs a command; kills it with all its descendants if it hangs."""
    name = command[0]
    try:
        done = run_watched(command, timeout_s=timeout_s)
    except FileNotFoundError:
        return Output(problem=f"{name} is not installed", missing=True)
    except OSError as error:
        return Output(problem=f"{name} cannot be started: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Output(problem=f"{name} hangs: it did not answer within {timeout_s:g} s")
    text = done.stdout.strip()
    if done.returncode:
        lines = (done.stderr.strip() or text).splitlines()
        reason = lines[0] if lines else f"exit status {done.returncode}"
        return Output(text=text, problem=f"{name} fails: {reason}")
    return Output(text=text)


def run_watched(
    command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a command; kills it with all its descendants if it hangs.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took longer than `timeout_s`, or was silent for a minute.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        pulse = pulse_of(process.pid) if timeout_s > SILENCE_S else None
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            try:
                output, errors = process.communicate(timeout=min(LOOK_S, max(0.0, left_s)))
            except subprocess.TimeoutExpired:
                silent = pulse is not None and pulse.is_silent()
                if silent or left_s <= 0:
                    waited_s = SILENCE_S if silent else timeout_s
                    raise subprocess.TimeoutExpired(command, waited_s) from None
            else:
                return subprocess.CompletedProcess(command, process.returncode, output, errors)
    except BaseException:
        _give_up(process)
        raise


def error_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The error that ended a process: the last line with an exception, else the last line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if not lines:
        return f"exit status {done.returncode}"
    errors = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    return (errors or lines)[-1]


def _give_up(process: "subprocess.Popen[str]") -> None:
    """Kills it without waiting long, since a process blocked on a dead GPU survives SIGKILL."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GIVE_UP_S)


@contextmanager
def import_in_background(library: str) -> Iterator[None]:
    """Imports a library in a thread during the block.

    A failed import is reported where the library is used, not here.

    Raises:
        UsageError: It has not been imported, and this process does nothing any more.
    """

    def import_it() -> None:
        with suppress(Exception):
            import_module(library)

    thread = threading.Thread(target=import_it, daemon=True)
    thread.start()
    try:
        yield
    finally:
        pulse = Pulse(lambda: (time.process_time(), 0))  # `pulse_of` itself would use the CPU
        while thread.is_alive():  # an interpreter that exits during an import crashes
            thread.join(LOOK_S)
            if thread.is_alive() and pulse.is_silent():
                raise UsageError(
                    f"importing {library} has done nothing for {SILENCE_S:g} s: it waits for "
                    "something, such as a network disk or a lock; try `python -X importtime "
                    f"-c 'import {library}'`"
                )


def usable_cores() -> int:
    """Number of cores this process may use: its affinity, or a lower container quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
