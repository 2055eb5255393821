"""A grid on Ray whose workers pretend to train; all runs but the first wait for a file `go`."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cli.progress import TextReporter
from bench.executors import protocol, ray
from bench.executors.protocol import Done, EpochDone, Ready
from bench.executors.remote import RemoteExecutor
from bench.executors.runner import run_plan
from bench.job import RecordBuilder
from bench.process import exit_without_teardown
from tests.made import made_curve, made_metrics, made_run

PROGRAM = [sys.executable, "-m", "tests.faults.acting"]


def plan_of(folder: Path) -> Any:
    from bench.grid.options import RunOptions  # late, as the workers do without
    from bench.grid.plan import Plan, sort_out

    runs = [made_run(seed, architecture="cnn4", pipeline="native") for seed in range(3)]
    plan = Plan(device="cpu", folder=folder, data_dir=folder, runs=runs)
    return sort_out(plan, RunOptions(), print)


def work() -> None:
    """The worker: returns a record for each job."""
    out = protocol.become_worker()
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    protocol.send(out, Ready(import_s=0.0))
    for line in sys.stdin.buffer:
        builder = RecordBuilder(job=protocol.read_job(line))
        builder.curve += made_curve(2, 100, 0.5)
        protocol.send(out, EpochDone(point=builder.curve[0]))
        folder, seed = Path(builder.job.folder), builder.job.run.seed
        if seed:
            (folder / f"at-{seed}").touch()
            while not (folder / "go").exists():
                time.sleep(0.05)
        builder.metrics = made_metrics(0.5, 1.0)
        protocol.send(out, Done(record=builder.record("ok")))


def run_job(*arguments: Any) -> Iterator[Any]:
    """Replaces the function of that name, so that nodes start the worker of this file."""
    from bench.executors import protocol, remote

    protocol.python_module = lambda name: PROGRAM
    yield from remote.run_job(*arguments)


def main(folder: Path, address: str) -> int:
    ray.run_job, ray.NO_NODE_TIMEOUT_S, ray.HEAD_TIMEOUT_S = run_job, 6.0, 20.0
    plan = plan_of(folder)
    reporter = TextReporter(terminal=False)
    reporter.plan(plan)
    cluster = ray.RayCluster.connect(address, device="cpu", timeout_s=600.0)
    outcome = run_plan(
        plan, reporter, executor=RemoteExecutor(cluster=cluster), command="bench run",
        fail_fast=False,
    )  # fmt: skip
    reporter.summary(outcome.counts, folder / "matrix.md", "bench run")
    print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    if len(sys.argv) == 1:
        work()
    else:
        exit_without_teardown(lambda: sys.exit(main(Path(sys.argv[1]), sys.argv[2])))
