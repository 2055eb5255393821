"""Commands that train the nets of `troubles.py`, and the processes that they leave."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from bench.record import Record
from bench.store.store import Store
from tests import checkout
from tests.faults.troubles import files

MARK = "BENCH_FAULTS"
PATIENCE_S = 240.0  # an idle machine needs ten, a process that is left over 600


def grid(names: str, *more: str, pipeline: str = "kornia", epochs: int = 2) -> list[str]:
    """Arguments that train these nets on generated images."""
    budget = ["--source", "shapes", "--device", "cpu", "--epochs", str(epochs)]
    chosen = f"({names}) and /sgd/none/{pipeline}"
    return ["run", *budget, "--pipeline", pipeline, "-k", chosen, *more]


@dataclass(kw_only=True)
class Command:
    """A command that is running or has ended."""

    pid: int
    folder: Path
    zygote: "Zygote"

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def code(self) -> int:
        """Waits for its end and returns its exit code."""
        return self.zygote.code(self.pid)

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def problems(self) -> str:
        return (self.folder / "problems").read_text()

    @property
    def lines(self) -> list[str]:
        return (self.output + self.problems).splitlines()

    def to_continue(self) -> list[str]:
        """Arguments of the command that it names for the rest."""
        (line,) = [text for text in self.lines if text.startswith("to continue: bench ")]
        return shlex.split(line.removeprefix("to continue: bench "))

    def wait_for(self, moment: str) -> None:
        """Waits until one of its processes has come to that moment."""
        mark = self.folder / f"at-{moment}"
        until(
            lambda: mark.exists() and bool(mark.read_text()),
            lambda: f"never {moment}: {self.output}{self.problems}",
        )


class Zygote:
    """The process that all commands are forked from; see `tests.faults.zygote`."""

    def __init__(self, copy: Path) -> None:
        self._mark = token_hex(8)
        environment = {**os.environ, "PYTHONPATH": str(copy), MARK: self._mark, "COLUMNS": "200"}
        program = Path(__file__).with_name("zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(program)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._codes: dict[int, int] = {}
        self._wait_for(lambda message: "ready" in message)

    def run(self, folder: Path, arguments: Sequence[str], streams: Sequence[str] = ()) -> Command:
        """Starts `bench` with its output in files of the folder, or with these streams."""
        folder.mkdir(exist_ok=True)
        named = [folder / "nothing", folder / "output", folder / "problems"]
        for path in named:
            path.touch()
            path.write_bytes(b"")
        order = {
            "folder": str(folder),
            "arguments": list(arguments),
            "streams": list(streams) or [str(path) for path in named],
        }
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = self._wait_for(lambda message: "pid" in message)["pid"]
        return Command(pid=pid, folder=folder, zygote=self)

    def code(self, pid: int) -> int:
        if pid not in self._codes:
            self._wait_for(lambda message: message.get("ended") == pid)
        return self._codes[pid]

    def _wait_for(self, sought: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "ended" in message:
                self._codes[message["ended"]] = message["code"]
            if sought(message):
                return message
        raise AssertionError("the zygote has ended")

    def left(self) -> list[int]:
        """Living processes of all commands, whatever group they are in."""
        return [pid for pid in of_mark(self._mark) if pid != self._process.pid]

    def check_none_left(self) -> None:
        until(lambda: not self.left(), lambda: f"still there: {self.left()}")

    def end(self) -> None:
        for pid in self.left():
            os.kill(pid, 9)
        self._process.kill()
        self._process.wait()


def of_mark(mark: str) -> list[int]:
    """Living processes that were started with this mark in their environment."""
    expected = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile
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


def check_ended(command: Command, zygote: Zygote) -> None:
    """It ended as interrupted, with no stack trace and no process left."""
    zygote.check_none_left()
    assert command.code() == 130, command.output + command.problems
    assert not [line for line in command.lines if "Traceback" in line or "Exception" in line]


def statuses(folder: Path) -> dict[str, str]:
    return {name: record.status for name, record in records(folder).items()}


def make_copy(folder: Path) -> Path:
    """The packages with these nets alone, since importing the others takes time."""
    for path in checkout.make(folder, files()).glob("architectures/[!_]*.py"):
        if f"architectures/{path.name}" not in files():
            path.unlink()
    return folder
