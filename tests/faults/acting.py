"""A grid in its own process whose worker only pretends to train; everything else is real."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from bench.cli.progress import TextReporter
from bench.executors import protocol
from bench.executors.protocol import Done, EpochDone, Ready
from bench.executors.runner import run_plan
from bench.job import RecordBuilder
from bench.process import exit_without_teardown
from bench.record import RERUN
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_curve, made_metrics, made_run

PROGRAM = [sys.executable, "-m", "tests.faults.acting"]
WORKER = "--worker"  # in place of the folder


class Options(msgspec.Struct, kw_only=True):
    """How a grid is run.

    Args:
        seeds: Number of runs.
        wait: As in `run_plan`.
        work_s: Seconds that a run takes.
        noise: Bytes added to each record.
        limit: Largest file that can be written, in bytes.
        ray: Address of a Ray cluster that trains. All runs but the first wait there for a file `go`
            in the folder, and each worker leaves a process behind.
    """

    seeds: int
    wait: bool = False
    work_s: float = 0.0
    noise: int = 0
    limit: int | None = None
    ray: str = ""


def command(folder: str, **options: Any) -> list[str]:
    """The command line of a grid with these `Options`."""
    return [*PROGRAM, folder, msgspec.json.encode(Options(**options)).decode()]


def start(folder: Path, **options: Any) -> "subprocess.Popen[str]":
    """Starts a grid with these `Options`."""
    pipe = subprocess.PIPE
    line = command(str(folder), **options)
    return subprocess.Popen(line, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


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


def work(options: Options) -> None:
    """The worker: one record per job."""
    out = protocol.become_worker()
    if options.ray:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    protocol.send(out, Ready(import_s=0.0))
    for line in sys.stdin.buffer:
        builder = RecordBuilder(job=protocol.read_job(line))
        time.sleep(options.work_s)
        builder.curve += made_curve(2, 100, 0.5)
        protocol.send(out, EpochDone(point=builder.curve[0]))
        folder, seed = Path(builder.job.folder), builder.job.run.seed
        if options.ray and seed:
            (folder / f"at-{seed}").touch()
            while not (folder / "go").exists():
                time.sleep(0.05)
        builder.metrics = made_metrics(0.5, 1.0)
        builder.environment = {"by": os.getppid(), "noise": "x" * options.noise}
        protocol.send(out, Done(record=builder.record("ok")))


def on_ray(address: str, worker: list[str]) -> Any:
    """An executor whose nodes start this worker."""
    from bench.executors import ray
    from bench.executors.remote import RemoteExecutor

    def run_job(*arguments: Any) -> Iterator[Any]:
        from bench.executors import protocol, remote

        protocol.python_module = lambda name: worker
        yield from remote.run_job(*arguments)

    ray.run_job, ray.NO_NODE_TIMEOUT_S, ray.HEAD_TIMEOUT_S = run_job, 6.0, 20.0
    return RemoteExecutor(cluster=ray.RayCluster.connect(address, device="cpu", timeout_s=600.0))


def main(folder: Path, options: Options) -> int:
    """Runs the grid and returns its exit code."""
    worker = command(WORKER, **msgspec.structs.asdict(options))
    protocol.python_module = lambda name: worker
    plan = plan_of(folder, options.seeds)
    if options.limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.limit,) * 2)
    reporter = TextReporter(terminal=False)
    reporter.plan(plan)
    outcome = run_plan(
        plan, reporter, command="bench run", timeout_s=600.0, fail_fast=False, wait=options.wait,
        executor=on_ray(options.ray, worker) if options.ray else None,
    )  # fmt: skip
    reporter.summary(outcome.counts, folder / "matrix.md", "bench run")
    print(outcome.problem, file=sys.stderr)
    return outcome.exit_code


if __name__ == "__main__":
    chosen = msgspec.json.decode(sys.argv[2], type=Options)
    if sys.argv[1] == WORKER:
        work(chosen)
    else:
        exit_without_teardown(lambda: sys.exit(main(Path(sys.argv[1]), chosen)))
