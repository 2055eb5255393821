"""A grid on a Ray cluster whose workers only pretend to train: all else is real.

`python -m tests.faults.ray_acting grid FOLDER ADDRESS RUNS SILENT_S` is the grid, `join SILENT_S`
the process of it that has Ray and waits so long for an answer, `work` a worker on a node.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.job import RecordBuilder
from bench.process import die_with_parent
from tests.made import made_curve, made_metrics

PROGRAM = [sys.executable, "-m", "tests.faults.ray_acting"]
NODELESS_S = 6.0


def work() -> None:
    """Ends the first run at once, and each other when its folder has the file `go`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    send(out, Ready(import_s=0.0))
    for line in sys.stdin.buffer:
        draft = RecordBuilder(job=read_job(line))
        folder = Path(draft.job.folder)
        draft.curve += made_curve(2, 100, 0.5)
        send(out, EpochDone(point=draft.curve[0]))
        if draft.job.run.seed:
            (folder / f"at-{draft.job.run.seed}").write_text(str(os.getpid()))
            while not (folder / "go").exists():
                time.sleep(0.05)
        draft.metrics = made_metrics(0.5, 1.0)
        send(out, Done(record=draft.record("ok")))


def pretend(*arguments: Any) -> Iterator[Any]:
    """The task on a node: as always, but for the program that is the worker."""
    from bench.executors import local, remote_job

    local.python_module = lambda name: [*PROGRAM, "work"]
    yield from remote_job.serve_job(*arguments)


def join(silent_s: float) -> None:
    """The process that has Ray, less patient."""
    from bench.executors import ray, ray_process

    ray.serve, ray.NODELESS_S = pretend, NODELESS_S
    ray_process.SILENT_S = silent_s
    ray_process.main()


def grid(folder: Path, address: str, runs: int, silent_s: str) -> int:
    """The grid; its exit code."""
    from bench.cli.progress import TextReporter
    from bench.executors import ray_apart
    from bench.executors.remote import RemoteExecutor
    from bench.executors.runner import run_plan
    from tests.faults.acting import plan_of

    ray_apart.python_module = lambda name: [*PROGRAM, "join", silent_s]
    plan = plan_of(folder, runs)
    console = TextReporter(terminal=False)
    cluster = ray_apart.RayApart.connect(address, device="cpu", timeout_s=600.0)
    outcome = run_plan(
        plan,
        console,
        command="bench run",
        timeout_s=600.0,
        fail_fast=False,
        executor=RemoteExecutor(cluster=cluster),
    )
    print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work"]:
            work()
        case ["join", silent_s]:
            join(float(silent_s))
        case ["grid", folder, address, runs, silent_s]:
            sys.exit(grid(Path(folder), address, int(runs), silent_s))
