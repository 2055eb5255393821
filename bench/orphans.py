"""No process is left behind: workers end with their parent, and what they started ends with them.

A worker is killed by Linux when its parent dies, however that dies. What the worker itself has
started (a DataLoader's workers, a compiler) is then ended by a small guard, a process that the
worker forks first of all. Those are found by their process group and, where they have left it, by a
mark in the environment that they began with.
"""

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import NoReturn

MARK = "PIPELINE_BENCH_WORKER"
LOOK_MS = 1000
END_S = 5.0


def fresh_mark() -> str:
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
        end_marked(os.environ.get(MARK, ""))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
    finally:
        os._exit(0)


def end_marked(mark: str) -> None:
    """Kills every process that began with this mark, but the present one; waits until all are gone.

    Without /proc none can be found, and none is.
    """
    deadline = time.monotonic() + END_S
    while (found := marked(mark)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def marked(mark: str) -> list[int]:
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


__all__ = ["MARK", "die_with_parent", "end_marked", "fresh_mark", "marked"]
