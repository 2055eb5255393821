"""Runs `bench` commands in processes forked from one that has imported everything.

It reads commands as lines of JSON and writes what becomes of them as lines of JSON. Commands and
workers run the suite's code in processes, groups and sessions as always; forking saves the seconds
that Python and torch take to start.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

import torch._dynamo  # noqa: F401 - as every worker does

import bench.cli.app
import bench.cli.progress
import bench.executors.runner
import bench.executors.worker
import bench.store.files
import bench.tensorboard.events
import bench.tensorboard.overview
import bench.tensorboard.run_log
import bench.training.run
import bench.training.setup
from bench.executors import protocol
from bench.grid import registry
from bench.machine import environment
from bench.machine.environment import Probe
from bench.training.setup import Shared

KINDS = ("architectures", "optimizers", "augmentations", "pipelines")
WORKER = "bench.executors.worker"
HIGHEST = 512  # of the descriptors that a command may have


class Forked:
    """What `Worker` uses of `subprocess.Popen`."""

    def __init__(
        self,
        command: list[str],
        *,
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: IO[bytes],
        start_new_session: bool,
    ) -> None:
        assert WORKER in command
        assert start_new_session
        assert stdin == stdout == subprocess.PIPE
        jobs, messages = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            serve(command, dict(env), jobs[0], messages[1], stderr.fileno())
        os.close(jobs[0])
        os.close(messages[1])
        self.stdin, self.stdout = os.fdopen(jobs[1], "wb"), os.fdopen(messages[0], "rb")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = 1e9) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.005)
        return code


def serve(command: list[str], env: dict[str, str], jobs: int, messages: int, log: int) -> NoReturn:
    """Becomes a worker."""
    code = 1
    try:
        os.setsid()
        take(jobs, messages, log)
        os.environ.clear()
        os.environ.update(env)
        bench.executors.worker.import_needed = import_slowly
        sys.argv = command[command.index(WORKER) :]
        bench.executors.worker.main()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def import_slowly() -> Shared:
    reached("starting")
    return Shared()


def take(*streams: int) -> None:
    """Takes standard streams, closes other descriptors and resets signal handlers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for target, descriptor in enumerate([os.dup(copy) for copy in map(os.dup, streams)]):
        os.dup2(descriptor, target)
    os.closerange(3, HIGHEST)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    errors = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.stderr = sys.__stderr__ = errors  # type: ignore[misc]


def reached(moment: str) -> None:
    """Waits for good if the current folder has a file `wait-MOMENT`."""
    if Path(f"wait-{moment}").exists():
        Path(f"at-{moment}").write_text(str(os.getpid()))
        time.sleep(600)


def probe() -> Probe:
    reached("planning")
    return Probe(torch="2", cuda_problem="no GPU")


def begin(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(order["folder"])
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
    take(*(os.open(path, mode) for path, mode in zip(order["streams"], modes, strict=True)))
    sys.argv = ["bench", *order["arguments"]]
    bench.cli.app.main()
    raise AssertionError("`main` ends the process")


def main() -> None:
    """Starts commands until there are no more; reports those that have ended."""
    environment.probe = bench.executors.worker.probe_here = probe
    protocol.subprocess = SimpleNamespace(  # type: ignore[assignment]
        Popen=Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    for kind in KINDS:
        registry.defaults(kind)  # imports all of them
    buffer = b""
    print(json.dumps({"ready": True}), flush=True)
    while True:
        if select.select([0], [], [], 0.02)[0]:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                print(json.dumps({"pid": begin(json.loads(line))}), flush=True)
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            continue
        if pid:
            code = os.waitstatus_to_exitcode(status)
            print(json.dumps({"ended": pid, "code": code}), flush=True)


if __name__ == "__main__":
    main()
