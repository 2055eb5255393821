"""Runs one command to its end or to its deadline, and leaves nothing of it behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.machine.environment import python_environment
from bench.process import MARK, kill_marked, new_mark, signals_allowed, signals_deferred
from bench.store.files import explained

End = Literal["exited", "overran", "interrupted"]
GRACE_S = 5.0
LAST_GRACE_S = 3.0
POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Args:
        how: By itself, stopped at its deadline, or stopped from outside.
        code: Its exit code; negative for a signal.
        seconds: That it took, the stopping included.
    """

    how: End
    code: int
    seconds: float


def carry_out(
    command: Sequence[str],
    *,
    log: Path,
    deadline: float,
    folder: Path,
    grace_s: float = GRACE_S,
) -> Ended:
    """Runs a command, whose output goes to a file; to be called with stops held.

    Args:
        command: The program and its arguments.
        log: Where its output goes; an older one is replaced.
        deadline: On the monotonic clock, in seconds.
        folder: Where it runs.
        grace_s: How long it may take to end when it is asked to.

    Raises:
        StoreError: The log cannot be written.
        OSError: There is no such program.
    """
    start, mark = time.monotonic(), new_mark()
    with explained(f"write {log}"):
        output = log.open("wb")
    with output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=python_environment() | {MARK: mark, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_prepare,
        )
    how: End = "interrupted"
    try:
        how = _watch(process, deadline)
    except KeyboardInterrupt:
        pass
    finally:
        with signals_deferred():
            _end(process, mark, grace_s)
    return Ended(how=how, code=process.returncode, seconds=time.monotonic() - start)


def _prepare() -> None:
    """In the new process: Ctrl-C is heard, also in the background; it ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _watch(process: "subprocess.Popen[bytes]", deadline: float) -> End:
    while process.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return "overran"
        with signals_allowed(), suppress(subprocess.TimeoutExpired):
            process.wait(min(left, POLL_S))
    return "exited"


def _end(process: "subprocess.Popen[bytes]", mark: str, grace_s: float) -> None:
    """Ends it and all that it started: asks it first, then less and less kindly."""
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)  # it alone: it ends its own workers in order
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        for stop_signal in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(process.pid, stop_signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_GRACE_S)
    kill_marked(mark)
    process.wait()
