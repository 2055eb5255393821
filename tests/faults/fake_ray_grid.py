"""A grid on a Ray cluster whose workers only pretend to train; everything else is real.

`python -m tests.faults.fake_ray_grid grid FOLDER ADDRESS RUNS` is the grid, `... work` a worker.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.executors.protocol import Done, EpochDone, Ready, become_worker, read_job, send
from bench.job import RecordBuilder
from tests.made import made_curve, made_metrics

PROGRAM = [sys.executable, "-m", "tests.faults.fake_ray_grid"]
NO_NODE_TIMEOUT_S = 6.0


def work() -> None:
    """Ends the first run at once, and each other when its folder has the file `go`."""
    out = become_worker()
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


def fake_run_job(*arguments: Any) -> Iterator[Any]:
    """The task on a node, with `work` in place of the worker's program."""
    from bench.executors import protocol, remote

    protocol.python_module = lambda name: [*PROGRAM, "work"]
    yield from remote.run_job(*arguments)


def grid(folder: Path, address: str, runs: int) -> int:
    """The grid; its exit code."""
    from bench.cli.progress import TextReporter
    from bench.executors import ray
    from bench.executors.remote import RemoteExecutor
    from bench.executors.runner import run_plan
    from tests.faults.acting import plan_of

    ray.run_job, ray.NO_NODE_TIMEOUT_S = fake_run_job, NO_NODE_TIMEOUT_S
    plan = plan_of(folder, runs)
    console = TextReporter(terminal=False)
    cluster = ray.RayCluster.connect(address, device="cpu", timeout_s=600.0)
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
        case ["grid", folder, address, runs]:
            sys.exit(grid(Path(folder), address, int(runs)))
