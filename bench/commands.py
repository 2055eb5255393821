"""Asks other programs something, and is never held up by one that hangs."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

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


def ask(command: Sequence[str], *, timeout_s: float = 10.0) -> Answer:
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
