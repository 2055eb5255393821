"""A grid in its own process whose worker only pretends to train; everything else is real."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.cli.progress import TextReporter
from bench.executors import protocol
from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.executors.runner import run_plan
from bench.job import RecordBuilder
from bench.record import RERUN
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_curve, made_metrics, made_run

PROGRAM = [sys.executable, "-m", "tests.faults.acting"]


def start(
    folder: Path,
    *,
    seeds: int,
    wait: bool = False,
    work_s: float = 0.0,
    noise: int = 0,
    limit: int | None = None,
) -> "subprocess.Popen[str]":
    """Starts a grid.

    Args:
        seeds: Number of runs.
        wait: As in `run_plan`.
        work_s: Seconds that a run takes.
        noise: Bytes added to each record.
        limit: Largest file that can be written, in bytes.
    """
    options = {"seeds": seeds, "wait": wait, "work_s": work_s, "noise": noise, "limit": limit}
    return subprocess.Popen(
        [*PROGRAM, str(folder), json.dumps(options)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def plan_of(folder: Path, seeds: int) -> Any:
    """A plan of one cell; `bench.grid.plan` would load torch to make one."""
    runs = [made_run(seed, architecture="cnn4", pipeline="native") for seed in range(seeds)]
    records = {record.run_id: record for record in Store(folder).records()}
    done = {run_id: record for run_id, record in records.items() if record.status not in RERUN}
    return SimpleNamespace(
        folder=folder,
        data_dir=folder,
        device="cpu",
        todo=[run for run in runs if run.id not in done],
        done=[done[run.id] for run in runs if run.id in done],
        failed=[],
        skipped=[],
        notices=[],
        seen={run_id: record.content_hash for run_id, record in records.items()},
    )


def work(options: dict[str, Any]) -> None:
    """The worker: one record per job."""
    out = protocol.become_worker()
    send(out, Ready(import_s=0.0))
    for line in sys.stdin.buffer:
        builder = RecordBuilder(job=read_job(line))
        time.sleep(options["work_s"])
        builder.curve += made_curve(2, 100, 0.5)
        send(out, EpochDone(point=builder.curve[0]))
        builder.metrics = made_metrics(0.5, 1.0)
        builder.environment = {"by": os.getppid(), "noise": "x" * options["noise"]}
        send(out, Done(record=builder.record("ok")))


def main(folder: Path, options: dict[str, Any]) -> int:
    """Runs the grid and returns its exit code."""
    command = [*PROGRAM, "--worker", json.dumps(options)]
    protocol.python_module = lambda name: command
    plan = plan_of(folder, options["seeds"])
    if options["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["limit"],) * 2)
    reporter = TextReporter(terminal=False)
    reporter.plan(plan)
    outcome = run_plan(
        plan, reporter, command="bench run", timeout_s=600.0, fail_fast=False,
        wait=options["wait"],
    )  # fmt: skip
    reporter.summary(outcome.counts, folder / "matrix.md", "bench run")
    print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(json.loads(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
