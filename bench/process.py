"""How a grid is stopped from outside, and the moments when it must not be.

How a process ends that has torch in it: at once. Python takes a second to take it apart.

No process is left behind: workers end with their parent, and what they started ends with them.

A worker is killed by Linux when its parent dies, however that dies. What the worker itself has
started (a DataLoader's workers, a compiler) is then ended by a small guard, a process that the
worker forks first of all. Those are found by their process group and, where they have left it, by a
mark in the environment that they began with.

Standard output that costs no run: what a full disk does not take of a log is dropped.

Asks other programs something, and is never held up by one that hangs.

Imports what takes seconds in a thread, beside other waiting.
"""

import atexit
import ctypes
import importlib
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; what nohup ignores stays so."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(stop):
        yield


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Stop signals wait until the block is through: a record is written whole, a worker ended.

    A mask would not do: any thread of the process that lacks it may take the signal.
    """
    held = _Held()
    try:
        with _handled(held):
            yield
    finally:
        for number in held.came:
            signal.raise_signal(number)


@contextmanager
def signals_allowed(*, earlier: bool = True) -> Iterator[None]:
    """Inside `stops_held`, waits for something that may take long.

    A stop raises KeyboardInterrupt. It has then been heard: the hold does not raise it again at its
    end. Without a hold around it, and in any thread but the main one, this does nothing.

    Args:
        earlier: Whether one that came since the hold began raises at once.
    """
    handlers = (signal.getsignal(number) for number in STOP_SIGNALS)
    held = next((one for one in handlers if isinstance(one, _Held)), None)
    if held is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    held.raises = True
    try:
        if held.came and earlier:
            held.stop()
        yield
    finally:
        held.raises = False


@dataclass(kw_only=True)
class _Held:
    """A handler that notes what comes."""

    came: dict[int, None] = field(default_factory=dict)
    raises: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came[number] = None
        if self.raises:
            self.stop()

    def stop(self) -> None:
        """Stops now; from here on stops are held again."""
        self.raises = False
        self.came.clear()
        raise KeyboardInterrupt


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # which signals never reach
        return
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def exit_without_teardown(command: Callable[[], None]) -> None:
    """Runs a whole program, after which nothing is taken apart.

    Whatever others want done at exit is done before, and what is still to be printed is printed. A
    program that ends by any other error than SystemExit with a number ends as Python ends it.
    """
    codes: list[int] = []
    atexit.register(_end, codes)  # the first to be registered is the last to be called
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
    except (OSError, ValueError):  # Python has its own way with a reader that is gone
        return
    os._exit(codes[0])


MARK = "PIPELINE_BENCH_WORKER"
LOOK_MS = 1000
END_S = 5.0


def new_mark() -> str:
    """The value of `MARK` for one more worker."""
    return token_hex(8)


def die_with_parent() -> None:
    """Sees to it that neither this process nor what it will start outlives its parent.

    To be called first of all by a process that leads a group of its own and whose standard input
    is a pipe that only its parent writes to.
    """
    parent, worker = os.getppid(), os.getpid()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)
    if os.getpgrp() == worker and os.fork() == 0:
        _guard(worker)


def _guard(worker: int) -> NoReturn:
    """Waits until the worker or its parent is gone and ends what is left."""
    try:
        os.setsid()  # who ends the worker's group, and is itself ended in the midst of it, needs it
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):  # the worker's messages must end when the worker does
            os.dup2(nothing, descriptor)
        lifeline = select.poll()
        lifeline.register(0, 0)  # asks for nothing, so it hears only that the other end is closed
        while os.getppid() == worker and not lifeline.poll(LOOK_MS):
            pass
        kill_marked(os.environ.get(MARK, ""))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
    finally:
        os._exit(0)


def kill_marked(mark: str) -> None:
    """Kills every process that began with this mark, but the present one; waits until all are gone.

    Without /proc none can be found, and none is.
    """
    deadline = time.monotonic() + END_S
    while (found := marked_processes(mark)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def marked_processes(mark: str) -> list[int]:
    """The processes that live and began with this mark, but the present one."""
    sought = f"{MARK}={mark}".encode()
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*")) if mark else ()
    return [pid for pid in pids if pid != os.getpid() and sought in _environment_of(pid)]


def _environment_of(pid: int) -> list[bytes]:
    """What a process began with; nothing of one that is gone, a zombie, or somebody else's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


class _Forgiving(io.RawIOBase):
    """Writes to a descriptor that is not its own."""

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
    """A text stream over a descriptor such as 1, whose writes never fail; flushed at each line."""
    raw = io.BufferedWriter(_Forgiving(descriptor))
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)


LAST_WAIT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a program said.

    Args:
        text: Its standard output, without blanks around it.
        problem: Why that is no answer, in one line; "" when it is one.
        missing: Whether there is no such program.
    """

    text: str = ""
    problem: str = ""
    missing: bool = False


def run_briefly(command: Sequence[str], *, timeout_s: float = 10.0) -> Answer:
    """What a command prints; one that hangs is ended with all that it started.

    Whatever bytes it prints become text.
    """
    name = command[0]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        return Answer(problem=f"{name} is not installed", missing=True)
    except OSError as error:
        return Answer(problem=f"{name} cannot be started: {error.strerror}")
    try:
        out, said = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _give_up(process)
        return Answer(problem=f"{name} hangs: it did not answer within {timeout_s:g} s")
    except BaseException:
        _give_up(process)
        raise
    text = out.decode("utf-8", "replace").strip()
    if process.returncode:
        lines = (said.decode("utf-8", "replace").strip() or text).splitlines()
        reason = lines[0] if lines else f"exit status {process.returncode}"
        return Answer(text=text, problem=f"{name} fails: {reason}")
    return Answer(text=text)


def _give_up(process: "subprocess.Popen[bytes]") -> None:
    """Ends it if the system lets it be ended: a process that waits for a dead GPU outlives this."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(LAST_WAIT_S)


@contextmanager
def import_in_background(library: str) -> Iterator[None]:
    """The library is imported when the block is left.

    One that cannot be imported is no error here: whoever needs it will tell.
    """

    def import_it() -> None:
        with suppress(Exception):
            importlib.import_module(library)

    meanwhile = Thread(target=import_it, daemon=True)
    meanwhile.start()
    try:
        yield
    finally:
        meanwhile.join()  # an interpreter that ends in the midst of it crashes


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and a container's quota if it is lower."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
