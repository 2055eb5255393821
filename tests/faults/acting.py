"""A grid in its own process, whose worker only pretends to train; everything else is real.

`python -m tests.faults.acting FOLDER ORDER` with an `Order` as JSON.
"""

import os
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from bench.cli.progress import TextReporter
from bench.executors import protocol
from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.executors.runner import run_plan
from bench.job import RecordBuilder
from bench.record import RERUN
from bench.store.store import Store
from tests.made import made_curve, made_metrics, made_run

STARTED = "--act"


class Order(msgspec.Struct, kw_only=True):
    """How to pretend.

    Args:
        seeds: Runs of the plan.
        wait: As in `run_plan`.
        work_s: What a run takes.
        noise: Bytes that a record has more than it needs.
        limit: Largest file that can be written, in bytes; None for any.
    """

    seeds: int = 3
    wait: bool = False
    work_s: float = 0.0
    noise: int = 0
    limit: int | None = None


def plan_of(folder: Path, seeds: int) -> Any:
    """One cell with so many seeds; `bench.grid.plan` would load torch to make a plan."""
    runs = [made_run(seed, architecture="cnn4", pipeline="native") for seed in range(seeds)]
    records = {record.run_id: record for record in Store(folder).records()}
    done = {run_id: one for run_id, one in records.items() if one.status not in RERUN}
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


def act(order: Order) -> None:
    """The worker: one record per job."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    send(out, Ready(import_s=0.0))
    for line in sys.stdin.buffer:
        draft = RecordBuilder(job=read_job(line))
        time.sleep(order.work_s)
        draft.curve += made_curve(2, 100, 0.5)
        send(out, EpochDone(point=draft.curve[0]))
        draft.metrics = made_metrics(0.5, 1.0)
        draft.environment = {"by": os.getppid(), "noise": "x" * order.noise}
        send(out, Done(record=draft.record("ok")))


def main(folder: Path, order: Order) -> int:
    """Runs the grid and returns its exit code."""
    text = msgspec.json.encode(order).decode()
    command = [sys.executable, "-m", "tests.faults.acting", STARTED, text]
    protocol.python_module = lambda name: command
    plan = plan_of(folder, order.seeds)
    if order.limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.limit, order.limit))
    console = TextReporter(terminal=False)
    console.plan(plan)
    outcome = run_plan(
        plan,
        console,
        command="bench run",
        timeout_s=600.0,
        fail_fast=False,
        wait=order.wait,
    )
    console.summary(outcome.counts, folder / "matrix.md", "bench run")
    print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.argv[2], type=Order)
    if sys.argv[1] == STARTED:
        act(wanted)
    else:
        sys.exit(main(Path(sys.argv[1]), wanted))
