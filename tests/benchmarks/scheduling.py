"""Overhead per cell when a grid is trained by a cluster, against the number of cells.

    python -m tests.benchmarks.scheduling [LARGEST] [simulated] [ray]

Grids of 100, 1,000 and so on up to LARGEST (default 10,000) cells that end at once, with all that
`bench run` does: jobs, records, tables. "simulated" answers within this process, so the suite's own
part is left; "ray" is a Ray cluster on this machine with 8 workers.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from bench.cli.progress import TextReporter
from bench.executors.protocol import Done, Message, Ready
from bench.executors.remote import Cluster, RemoteExecutor
from bench.executors.runner import run_plan
from bench.job import Job, RecordBuilder
from bench.store.store import Store
from tests.benchmarks.common import conditions, print_figures
from tests.executors.test_runner import planned
from tests.made import made_record, made_run

WORKERS = 8
SEEDS = 10


class Simulated:
    """A cluster whose jobs end at once."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def capacity(self) -> int:
        return WORKERS

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        self.jobs |= {job.run.id: job for job in jobs}
        return [job.run.id for job in jobs]

    def poll(self, tickets: Sequence[str]) -> list[tuple[str, Message]]:
        return [said for ticket in tickets for said in self._said(ticket)]

    def _said(self, ticket: str) -> list[tuple[str, Message]]:
        record = finished(self.jobs.pop(ticket))
        return [(ticket, Ready(import_s=0.0)), (ticket, Done(record=record))]

    def cancel(self, tickets: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        pass


def finished(job: Job) -> Any:
    """The record of a job, as large as a real one."""
    made = made_record(job.run.seed, epochs=16)
    draft = RecordBuilder(job=job, curve=list(made.curve))
    draft.metrics, draft.throughput = made.metrics, made.throughput
    return draft.record("ok")


def at_once(
    line: bytes, timeout_s: float, engine: str, ours: Any, threads: Any
) -> Iterator[bytes | dict[str, bytes]]:
    """Replaces the Ray task that trains."""
    import msgspec

    yield msgspec.json.encode(Ready(import_s=0.0))
    yield {}
    yield msgspec.json.encode(Done(record=finished(msgspec.json.decode(line, type=Job))))


@contextmanager
def simulated() -> Iterator[Cluster]:
    yield Simulated()


@contextmanager
def on_ray() -> Iterator[Cluster]:
    import ray
    from ray.cluster_utils import Cluster as Nodes

    from bench.executors import ray as executing

    executing.run_job = at_once
    head = {"num_cpus": WORKERS, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    try:
        yield executing.RayCluster.connect(nodes.address, device="cpu", timeout_s=60.0)
    finally:
        ray.shutdown()
        nodes.shutdown()


WAYS: dict[str, Callable[[], Any]] = {"simulated": simulated, "ray": on_ray}


def cells_s(cluster: Cluster, cells: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "made_shapes_cpu"
        plan = planned(folder, 0)
        plan.todo.extend(
            made_run(number % SEEDS, architecture=f"net{number // SEEDS}")
            for number in range(cells)
        )
        console = TextReporter(quiet=True)
        start = time.perf_counter()
        outcome = run_plan(
            plan, console, executor=RemoteExecutor(cluster=cluster), command="made",
            fail_fast=False,
        )  # fmt: skip
        passed_s = time.perf_counter() - start
        assert outcome.counts == {"ok": cells}, outcome
        assert len(Store(folder).records()) == cells
    return passed_s


def main(largest: int = 10_000, *ways: str) -> None:
    before = conditions()
    figures: dict[str, dict[str, float]] = {}
    with redirect_stdout(sys.stderr):
        for way in ways or WAYS:
            with WAYS[way]() as cluster:
                cells_s(cluster, 10)  # the first is slow everywhere
                figures[way] = {
                    str(cells): round(1000 * cells_s(cluster, cells) / cells, 2)
                    for cells in (100, 1_000, 10_000)
                    if cells <= largest
                }
    print_figures(before, {"workers": WORKERS, "ms_a_cell": figures})


if __name__ == "__main__":
    number, *rest = sys.argv[1:] or ["10000"]
    main(int(number), *rest)
