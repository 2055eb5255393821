"""Commands that train the nets of `troubles.py`, and their processes."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.record import Record
from bench.store.store import Store

MARK = "BENCH_FAULTS"
PATIENCE_S = 240.0  # an idle machine needs 10 s; a process that is left behind runs for 600 s


def grid(names: str, *more: str, pipeline: str = "kornia", epochs: int = 2) -> list[str]:
    """Arguments that train these nets on generated images."""
    budget = ["--source", "shapes", "--device", "cpu", "--epochs", str(epochs)]
    chosen = f"({names}) and /sgd/none/{pipeline}"
    return ["run", *budget, "--pipeline", pipeline, "-k", chosen, *more]


@dataclass(kw_only=True)
class Command:
    """A `bench` command that is running or has ended; its processes have `mark`."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    mark: str

    def code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    @property
    def output(self) -> str:
        return self.read("output")

    @property
    def problems(self) -> str:
        return self.read("problems")

    @property
    def lines(self) -> list[str]:
        return (self.output + self.problems).splitlines()

    def to_continue(self) -> list[str]:
        """Arguments of the command that it prints for continuing."""
        (line,) = [text for text in self.lines if text.startswith("to continue: bench ")]
        return shlex.split(line.removeprefix("to continue: bench "))

    def wait_for(self, moment: str) -> None:
        mark = self.folder / f"at-{moment}"
        until(lambda: mark.exists() or self.process.poll() is not None, lambda: f"not {moment}")
        assert mark.exists(), self.lines

    def check_none_left(self) -> None:
        until(lambda: not of_mark(self.mark), lambda: f"still there: {of_mark(self.mark)}")

    def check_interrupted(self) -> None:
        """Checks that it was interrupted and left neither a stack trace nor a process."""
        self.check_none_left()
        assert self.code() == 130, self.lines
        assert not [line for line in self.lines if "Traceback" in line or "Exception" in line]

    def end(self) -> None:
        for pid in of_mark(self.mark):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Command]
# The shell opens the streams, so that a terminal becomes the one of its session.
SHELL = ["/bin/sh", "-c", 'exec <"$1" >"$2" 2>"$3"; shift 3; exec "$@"', "sh"]


def of_mark(mark: str) -> list[int]:
    """Living processes that were started with this mark in their environment."""
    expected = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended
            if expected in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def until(condition: Callable[[], object], message: Callable[[], str]) -> None:
    """Waits for a condition; fails with the message after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.02)


def records(folder: Path) -> dict[str, Record]:
    """The records of a command by net; each must be whole."""
    assert not list((folder / "results").rglob("*.tmp"))
    return {
        record.cell.architecture: record
        for group in (folder / "results").glob("*/")
        for record in Store(group).records(pytest.fail)
    }


def statuses(folder: Path) -> dict[str, str]:
    return {name: record.status for name, record in records(folder).items()}
