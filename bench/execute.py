"""Carries out a plan: jobs to the executor, records to the store, tables at the end."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from bench.cell import Run
from bench.console_base import Reporter
from bench.draft import Draft, Job
from bench.executors import Watcher
from bench.executors.local import LocalExecutor
from bench.plan import Plan
from bench.record import Failure, Record
from bench.report.table import write_matrix
from bench.signals import stops_held, stops_raise
from bench.store import Store
from bench.tensorboard.overview import write_overview

FAILED = ("diverged", "oom", "timeout", "crashed")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a grid ended.

    Args:
        counts: Runs by status, those that were done before included.
        interrupted: Whether it was stopped from outside.
    """

    counts: Counter[str]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 all ok, 1 some run failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if any(self.counts[status] for status in FAILED) else 0


def execute(
    plan: Plan,
    console: Reporter,
    *,
    command: str,
    timeout_s: float,
    fail_fast: bool,
    profile: bool = False,
) -> Outcome:
    """Trains what the plan has left to do; every record is on disk before the next run starts.

    Args:
        plan: What to do.
        console: Shows it.
        command: The command line, for the records.
        timeout_s: Longest that one run may take.
        fail_fast: Whether to stop at the first failed run.
        profile: Whether each run leaves a trace of some steps.

    Raises:
        StoreError: The results folder cannot be written or is in use.
    """
    store = Store(plan.folder)
    store.check_writable()
    counts = Counter({"ok": len(plan.done)})
    counts.update(record.status for record in plan.failed)
    interrupted = False
    with store.lock():
        for run, reason in plan.skipped:
            draft = Draft(job=_job(plan, run, command))
            record = draft.record("skipped", Failure(type="Skipped", message=reason))
            _keep(store, console, counts, record)
        if plan.todo:
            write_overview(store, store.records(), plan.todo, on_error=console.notice)
            jobs = [_job(plan, run, command, profile) for run in plan.todo]
            interrupted = _train(jobs, store, console, counts, timeout_s, fail_fast)
        records = store.records()
        write_matrix(store, records)
        write_overview(store, records, on_error=console.notice)
    return Outcome(counts=counts, interrupted=interrupted)


def _train(
    jobs: list[Job],
    store: Store,
    console: Reporter,
    counts: Counter[str],
    timeout_s: float,
    fail_fast: bool,
) -> bool:
    """Runs the jobs; whether it was stopped from outside."""
    executor = LocalExecutor(timeout_s=timeout_s)
    position = iter(range(1, len(jobs) + 1))
    watcher = Watcher(
        started=lambda job: console.run_started(job.run, next(position), len(jobs)),
        epoch=lambda job, point: console.epoch(job.run, point, job.run.cell.epochs),
        memory=console.memory,
    )
    records = executor.run(jobs, watcher)
    with stops_raise(), closing(records):
        try:
            for record in records:
                _keep(store, console, counts, record)
                if fail_fast and record.status in FAILED:
                    break
        except KeyboardInterrupt:
            records.close()
            cut_off = executor.interrupted()
            if cut_off is not None:
                _keep(store, console, counts, cut_off)
            return True
    return False


def _keep(store: Store, console: Reporter, counts: Counter[str], record: Record) -> None:
    with stops_held():
        store.write(record)
        counts[record.status] += 1
        console.run_finished(record)


def _job(plan: Plan, run: Run, command: str, profile: bool = False) -> Job:
    return Job(
        run=run,
        folder=str(plan.folder),
        data_dir=str(plan.data_dir),
        command=command,
        profile=profile,
    )
