"""Executes a plan: sends jobs to the executor, stores records, and writes tables at the end."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bench.cell import Run
from bench.errors import UsageError
from bench.executors.base import Executor, Reporter, Watcher, first_line
from bench.job import Job, RecordBuilder
from bench.process import import_in_background, signals_allowed, signals_deferred, signals_raise
from bench.record import FAILED, RERUN, Failure, Record, Status
from bench.store.codec import RecordError, encode
from bench.store.files import StoreError
from bench.store.store import Store
from bench.tensorboard.overview import write_overview

if TYPE_CHECKING:
    from bench.grid.plan import Plan


@dataclass(frozen=True, kw_only=True)
class GridOutcome:
    """How a grid ended.

    Args:
        counts: Runs by status, including earlier ones.
        interrupted: Whether the user or the system stopped it.
        problem: Why it ended early or could not write something, if so.
    """

    counts: Counter[str]
    interrupted: bool
    problem: str = ""

    @property
    def exit_code(self) -> int:
        """0 all ok, 1 some run failed or could not be kept, 130 interrupted."""
        if self.interrupted:
            return 130
        failed = any(self.counts[status] for status in FAILED)
        return 1 if failed or self.problem else 0


def run_plan(
    plan: "Plan",
    console: Reporter,
    *,
    executor: Executor,
    command: str,
    fail_fast: bool,
    profile: bool = False,
    keep_weights: bool = False,
    exclusive_timing: bool = False,
    wait: bool = False,
    advice: str = "",
) -> GridOutcome:
    """Trains the remaining runs of a plan; each record is on disk before the next run starts.

    If a record cannot be written, it is printed to standard error and no further run is started.

    Args:
        executor: Trains the runs; it is closed at the end.
        command: The command line, for the records.
        exclusive_timing: Whether only one run at a time is trained on each host.
        wait: Whether to wait while another process uses the folder; otherwise `advice` is part of
            the error.

    Raises:
        StoreError: The results folder cannot be written or is in use.
    """
    store = Store(plan.folder)
    new_job = partial(
        Job,
        folder=str(plan.folder),
        data_dir=str(plan.data_dir),
        command=command,
        profile=profile,
        keep_weights=keep_weights,
        exclusive=exclusive_timing,
    )
    grid = _Grid(plan=plan, console=console, store=store, new_job=new_job, fail_fast=fail_fast)
    with ExitStack() as stack:
        stack.enter_context(closing(executor))  # even if there is nothing to run
        store.check_writable()
        stack.enter_context(store.lock(wait=wait, notice=console.progress, advice=advice))
        stack.enter_context(signals_raise())
        try:
            grid.record_skipped()
            runs = grid.not_done(plan.todo)
            if runs:
                grid.train(runs, executor)
        except StoreError as error:
            grid.problem = grid.problem or str(error)
        except KeyboardInterrupt:  # between two runs, or a second time
            grid.interrupted = True
        grid.write_tables()
    return GridOutcome(counts=grid.counts, interrupted=grid.interrupted, problem=grid.problem)


@dataclass(kw_only=True)
class _Grid:
    """The state of a plan that is being executed."""

    plan: "Plan"
    console: Reporter
    store: Store
    new_job: partial[Job]
    fail_fast: bool
    counts: Counter[str] = field(default_factory=lambda: Counter({"ok": 0}))
    interrupted: bool = False
    problem: str = ""

    def record_skipped(self) -> None:
        """Records the runs that cannot run here, with the reason."""
        reasons = {run.id: reason for run, reason in self.plan.skipped}
        for run in self.not_done([run for run, _ in self.plan.skipped]):
            self._keep(self._failed(run, "skipped", "Skipped", reasons[run.id]))

    def not_done(self, runs: Sequence[Run]) -> list[Run]:
        """The runs that no other command has finished since planning."""
        return [run for run in runs if not self._was_done_by_another(run)]

    def _was_done_by_another(self, run: Run) -> bool:
        record = self.store.read(run.id)
        if record is None or record.status in RERUN:
            return False
        if record.content_hash == self.plan.seen.get(run.id):
            return False
        name = self.plan.names(record.name, record.cell)
        self.console.progress(f"{name} was done in the meantime by another `bench run`:")
        self.counts[record.status] += 1
        self.console.run_finished(record)
        return True

    def train(self, runs: Sequence[Run], executor: Executor) -> None:
        """Trains the runs and stores their records, including interrupted ones."""
        self._write_overview(runs)
        positions = iter(range(1, len(runs) + 1))
        watcher = Watcher(
            started=lambda job: self.console.run_started(job.run, next(positions), len(runs)),
            epoch=lambda job, point, memory: self.console.epoch(job.run, point, memory),
            lost=self._keep_lost,
        )
        records = executor.run(self._jobs(runs), watcher)
        # Tables need pandas, which is imported while the worker prepares its first run.
        with import_in_background("bench.report.table"), signals_deferred(), closing(records):
            try:
                for record in records:
                    self._keep(record)
                    if self.fail_fast and record.status in FAILED:
                        break
            except KeyboardInterrupt:
                self.interrupted = True
            except UsageError as error:  # the executor can train no more
                self.problem = str(error)
            records.close()
            for record in executor.interrupted():
                self._keep(record)

    def _write_overview(self, planned: Sequence[Run]) -> None:
        with self.store.deriving():
            records = self.store.records()
            write_overview(self.store, records, planned, on_error=self.console.notice)

    def _jobs(self, runs: Sequence[Run]) -> Iterator[Job]:
        for run in runs:
            with signals_allowed():
                pass  # a stop between two runs takes effect here
            yield self._job(run)

    def _job(self, run: Run) -> Job:
        plugins = {origin: self.plan.plugins[origin] for origin in run.plugins}
        return self.new_job(run=run, plugins=plugins)

    def _failed(self, run: Run, status: Status, kind: str, reason: str) -> Record:
        failure = Failure(type=kind, message=reason)
        return RecordBuilder(job=self._job(run)).record(status, failure)

    def _keep(self, record: Record) -> None:
        with signals_deferred():
            record = self._write(record)
            self.counts[record.status] += 1
            self.console.run_finished(record)

    def _keep_lost(self, record: Record) -> None:
        """Stores a lost attempt."""
        self._write(record)
        name = self.plan.names(record.name, record.cell)
        self.console.progress(f"{name} is tried again: {first_line(record)}")

    def _write(self, record: Record) -> Record:
        """Writes a record, or a failure in place of one that is too large or invalid."""
        try:
            try:
                self.store.write(record)
            except RecordError as error:
                record = self._failed(record.run, "crashed", type(error).__name__, str(error))
                self.store.write(record)
        except StoreError as error:
            self.console.close()
            self.problem = f"{error}. {print_record(record)}"
            raise
        return record

    def write_tables(self) -> None:
        """Writes the derived files; a failure can be fixed at any time."""
        from bench.report.table import write_matrix  # imports pandas

        records: list[Record] = []
        problem = "the tables are not up to date"
        try:
            with self.store.deriving():
                records = self.store.records()
                write_matrix(self.store, records)
                write_overview(self.store, records, on_error=self.console.notice)
            problem = ""
        except StoreError as error:
            problem = f"{problem}: {error}"
            self.problem = self.problem or problem
        except KeyboardInterrupt:
            self.interrupted = True
        if problem:
            self.console.notice(f"{problem}; `bench table` shows all records")
        self._count_earlier(records)

    def _count_earlier(self, records: Sequence[Record]) -> None:
        """Counts runs that were not planned by their current status."""
        earlier = [*self.plan.done, *self.plan.failed]
        current = {record.run_id: record.status for record in [*earlier, *records]}
        self.counts.update(current[record.run_id] for record in earlier)


def print_record(record: Record) -> str:
    """Prints a record that could not be written to standard error, as JSON; returns advice."""
    print(encode(record).decode().strip(), file=sys.stderr, flush=True)
    return (
        f"The record of {record.name} is the line of JSON above, complete: save it as "
        f"records/{record.run_id}.json"
    )
