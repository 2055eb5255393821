"""Nets that are trouble, commands that run among them, and a look at what processes are left."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from bench.record import Record
from bench.store import Store
from tests import checkout

MARK = "BENCH_FAULTS"
PATIENCE_S = 120.0  # of a test on a machine with other work
GONE_S = 60.0  # the suite ends everything in ten on a machine that has no other work

TROUBLES = """
import ctypes, os, resource, signal, subprocess, sys, time
from pathlib import Path

import torch
from torch import nn

from architectures import Architecture


def raises(net):
    raise ValueError("boom in forward")


def gpu_full(net):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def host_full(net):
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))
    torch.empty(2**30)


def python_full(net):
    bytearray(2**46)


def killed(net):
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(net):
    ctypes.string_at(0)


def gives_nan(net):
    return torch.full_like(net.head.weight, float("nan")).sum()


def ends_in_nan(net):
    if doing() == "predict" and net.evaluated == 1:
        return float("nan")


def is_tested_in_nan(net):
    if doing() == "predict" and net.evaluated == 2:
        return float("nan")


def guesses(net):
    return 0.0


def hangs(net):
    if moment(net) == "training":
        start_others()
        time.sleep(600)


def is_stubborn(net):
    if moment(net) == "training":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        start_others()
        time.sleep(600)


def stalls(net):
    # The pipeline's own processes do nothing any more, and its iterator waits for them.
    if moment(net) == "training":
        for path in Path("/proc").glob("[0-9]*/stat"):
            pid, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"pt_data" in Path(f"/proc/{pid}/comm").read_bytes():
                os.kill(pid, signal.SIGSTOP)


def would_halt(net):
    now = moment(net)
    if Path(f"wait-{now}").exists():
        start_others()
        Path(f"at-{now}").write_text(str(os.getpid()))
        time.sleep(600)


def works(net):
    pass


def start_others():
    # Processes that the worker starts, one of them in a session of its own.
    for alone in (False, True):
        subprocess.Popen(["sleep", "600"], start_new_session=alone)


def doing():
    frame, names = sys._getframe(), set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return next((name for name in ("warm_up", "predict", "train_epoch") if name in names), "")


def moment(net):
    now = {"warm_up": "warming_up", "predict": "evaluating"}.get(doing(), "")
    if doing() == "train_epoch" and net.evaluated == 1:
        return "training"  # of the second epoch
    return now


class Net(nn.Module):
    def __init__(self, spec, body):
        super().__init__()
        self.head = nn.Linear(spec.channels * spec.image_size**2, spec.classes)
        self.body = body
        self.evaluated = 0
        with open("processes", "a") as file:
            print(os.getpid(), file=file)

    def train(self, mode=True):
        self.evaluated += int(mode and doing() == "predict")
        return super().train(mode)

    def forward(self, x):
        found = self.body(self)
        logits = self.head(x.flatten(1))
        return logits if found is None else logits * found


def entry(body):
    return Architecture(
        name=body.__name__, why="a test", reference="none",
        build=lambda spec: Net(spec, body), parameters=30730, default=True,
    )


BODIES = (raises, gpu_full, host_full, python_full, killed, segfaults, gives_nan, ends_in_nan,
          is_tested_in_nan, guesses, hangs, is_stubborn, stalls, works,
          would_halt)
"""


def files() -> dict[str, str]:
    """The nets, one file each, for a copy of the packages."""
    body = TROUBLES.partition("BODIES = (")[2].rstrip(")\n")
    names = [name.strip() for name in body.split(",")]
    return {"architectures/_troubles.py": TROUBLES} | {
        f"architectures/{name}.py": (
            f"from architectures import _troubles\n\n{name} = _troubles.entry(_troubles.{name})\n"
        )
        for name in names
    }


def grid(names: str, *more: str, pipeline: str = "kornia", epochs: int = 2) -> list[str]:
    """Arguments that train these nets on generated images."""
    budget = ["--source", "shapes", "--device", "cpu", "--epochs", str(epochs)]
    chosen = f"({names}) and /sgd/none/{pipeline}"
    return ["run", *budget, "--pipeline", pipeline, "-k", chosen, *more]


@dataclass(kw_only=True)
class Command:
    """A command that runs or has ended."""

    pid: int
    folder: Path
    zygote: "Zygote"
    started: float = field(default_factory=time.monotonic)

    def send(self, number: int) -> None:
        """Sends the command a signal."""
        os.kill(self.pid, number)

    def code(self) -> int:
        """Its exit code, once it has ended."""
        return self.zygote.code(self.pid)

    @property
    def output(self) -> str:
        """What it has said so far."""
        return (self.folder / "output").read_text()

    @property
    def problems(self) -> str:
        """What it has said so far on standard error."""
        return (self.folder / "problems").read_text()

    def to_go_on(self) -> list[str]:
        """The arguments of the command that it says goes on."""
        (line,) = [text for text in self.said if text.startswith("to go on: bench ")]
        return shlex.split(line.removeprefix("to go on: bench "))

    @property
    def said(self) -> list[str]:
        """All lines, of both streams."""
        return (self.output + self.problems).splitlines()

    def wait_for(self, name: str) -> int:
        """Waits until a process is at that moment; its process id."""
        mark = self.folder / f"at-{name}"

        def arrived() -> bool:
            return mark.exists() and bool(mark.read_text())

        until(arrived, lambda: f"never {name}: {self.output}{self.problems}")
        return int(mark.read_text())


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
        self._told(lambda message: "ready" in message)

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
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = self._told(lambda message: "pid" in message)["pid"]
        return Command(pid=pid, folder=folder, zygote=self)

    def code(self, pid: int) -> int:
        """The exit code of a command, once it has ended."""
        if pid not in self._codes:
            self._told(lambda message: message.get("ended") == pid)
        return self._codes[pid]

    def _told(self, sought: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "ended" in message:
                self._codes[message["ended"]] = message["code"]
            if sought(message):
                return message
        raise AssertionError("the zygote has ended")

    def left(self) -> list[int]:
        """The processes that live and come from the commands, whatever group they are in."""
        sought = f"{MARK}={self._mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            pid = int(path.parent.name)
            try:
                ours = sought in path.read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and pid != self._process.pid:
                found.append(pid)
        return found

    def check_none_left(self, since: float) -> None:
        """No process of any command lives `GONE_S` after a moment (monotonic)."""
        while left := self.left():
            if time.monotonic() > since + GONE_S:
                said = [Path(f"/proc/{pid}/stat").read_text().split(")")[0] for pid in left]
                raise AssertionError(f"still there: {said}")
            time.sleep(0.05)

    def end(self) -> None:
        """Ends everything."""
        for pid in self.left():
            os.kill(pid, 9)
        self._process.kill()
        self._process.wait()


def until(true: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)


def records(folder: Path) -> dict[str, Record]:
    """The records of a command by net; each must be whole."""
    warnings: list[str] = []
    found = [
        record
        for group in (folder / "results").glob("*/")
        for record in Store(group).records(on_warning=warnings.append)
    ]
    assert not warnings
    assert not list((folder / "results").rglob("*.tmp"))
    return {record.cell.architecture: record for record in found}


def make_copy(folder: Path) -> Path:
    """The packages with these nets instead of their own, which saves the time to look at them."""
    for path in checkout.make(folder, files()).glob("architectures/[!_]*.py"):
        if f"architectures/{path.name}" not in files():
            path.unlink()
    return folder
