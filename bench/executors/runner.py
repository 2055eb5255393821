"""Carries out a plan: jobs to the executor, records to the store, tables at the end."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from bench.cell import Run
from bench.errors import UsageError
from bench.executors.base import Executor, Watcher
from bench.executors.local import LocalExecutor
from bench.executors.progress import Reporter, first_line
from bench.executors.warm_start import WarmStart
from bench.job import Job, RecordBuilder
from bench.process import signals_allowed, signals_deferred, signals_raise
from bench.record import RERUN, Failure, Record
from bench.report.table import write_matrix
from bench.store.codec import encode
from bench.store.files import StoreError
from bench.store.store import Store
from bench.tensorboard.overview import write_overview

if TYPE_CHECKING:
    from bench.grid.plan import Plan


FAILED = ("diverged", "oom", "timeout", "crashed")


@dataclass(frozen=True, kw_only=True)
class GridOutcome:
    """How a grid ended.

    Args:
        counts: Runs by status, those that were done before included.
        interrupted: Whether it was stopped from outside.
        problem: Why it ended early or left something unwritten; "" when it did not.
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
    command: str,
    timeout_s: float,
    fail_fast: bool,
    profile: bool = False,
    exclusive_timing: bool = False,
    wait: bool = False,
    advice: str = "",
    executor: Executor | None = None,
    early: WarmStart | None = None,
) -> GridOutcome:
    """Trains what the plan has left to do; every record is on disk before the next run starts.

    A record that cannot be written goes to standard error, and nothing more is started.

    Args:
        plan: What to do.
        console: Shows it.
        command: The command line, for the records.
        timeout_s: Longest that one run may take.
        fail_fast: Whether to stop at the first failed run.
        profile: Whether each run leaves a trace of some steps.
        exclusive_timing: Whether one run is trained at a time on each host.
        wait: Whether to wait while another command has the folder.
        advice: What to do about a folder that others have.
        executor: Who runs the jobs; left out, workers of this machine, one at a time.
        early: Has the first of these workers, perhaps.

    Raises:
        StoreError: The results folder cannot be written or is in use.
    """
    store = Store(plan.folder)
    warning = store.check_writable(len(plan.todo))
    if warning:
        console.notice(warning)
    with store.lock(wait=wait, notice=console.progress, advice=advice):
        work = _Work(
            plan=plan,
            console=console,
            store=store,
            command=command,
            profile=profile,
            exclusive_timing=exclusive_timing,
        )
        with signals_raise():
            try:
                interrupted = work.train(
                    lambda: executor or _local(plan, timeout_s, exclusive_timing, early), fail_fast
                )
            except KeyboardInterrupt:  # between two runs, or a second time
                interrupted = True
            interrupted = work.derive() or interrupted
    return GridOutcome(counts=work.counts, interrupted=interrupted, problem=work.problem)


def _local(
    plan: "Plan", timeout_s: float, exclusive_timing: bool, early: WarmStart | None
) -> LocalExecutor:
    device = plan.setting.device
    return LocalExecutor(
        timeout_s=timeout_s,
        ahead=device == "cuda" and not exclusive_timing,
        next_worker=early.take(device) if early else None,
    )


@dataclass(kw_only=True)
class _Work:
    """A plan on its way."""

    plan: "Plan"
    console: Reporter
    store: Store
    command: str
    profile: bool
    exclusive_timing: bool
    counts: Counter[str] = field(default_factory=lambda: Counter({"ok": 0}))
    problem: str = ""

    def train(self, hired: Callable[[], Executor], fail_fast: bool) -> bool:
        """Does what there is to do; whether it was stopped from outside."""
        try:
            self._skip()
            if not self.plan.todo:
                return False
            self._overview(self.plan.todo)
            return self._train(hired(), fail_fast)
        except StoreError as error:
            self.problem = self.problem or str(error)
            return False

    def derive(self) -> bool:
        """Writes what is made of the records; if it cannot be, it can be made at any time.

        Returns:
            Whether it was stopped from outside.
        """
        before = [*self.plan.done, *self.plan.failed]
        records: list[Record] = []
        late, problem = "the tables are not up to date", ""
        interrupted = False
        try:
            with self.store.deriving():
                records = self.store.records()
                write_matrix(self.store, records)
                write_overview(self.store, records, on_error=self.console.notice)
        except StoreError as error:
            problem = f"{late}: {error}"
        except KeyboardInterrupt:
            interrupted = True
        if problem or interrupted:
            self.console.notice(f"{problem or late}; `bench table` shows all records")
            self.problem = self.problem or problem
        # As they are now: another may have tried a failed one again since the plan was made.
        now = {record.run_id: record.status for record in [*before, *records]}
        self.counts.update(now[record.run_id] for record in before)
        return interrupted

    def _overview(self, planned: Sequence[Run]) -> None:
        with self.store.deriving():
            records = self.store.records()
            write_overview(self.store, records, planned, on_error=self.console.notice)

    def _skip(self) -> None:
        reasons = {run.id: reason for run, reason in self.plan.skipped}
        for run in self._not_done([run for run, _ in self.plan.skipped]):
            failure = Failure(type="Skipped", message=reasons[run.id])
            self._keep(
                RecordBuilder(job=_job(self.plan, run, self.command)).record("skipped", failure)
            )

    def _train(self, executor: Executor, fail_fast: bool) -> bool:
        total = len(self.plan.todo)
        position = iter(range(1, total + 1))
        watcher = Watcher(
            started=lambda job: self.console.run_started(job.run, next(position), total),
            epoch=lambda job, point: self.console.epoch(job.run, point, job.run.cell.epochs),
            memory=self.console.memory,
            lost=self._lost,
        )
        records = executor.run(self._jobs(), watcher)
        with signals_deferred(), closing(records):
            interrupted = False
            try:
                for record in records:
                    self._keep(record)
                    if fail_fast and record.status in FAILED:
                        break
            except KeyboardInterrupt:
                interrupted = True
            except UsageError as error:  # there is nowhere to train any more
                self.problem = str(error)
            records.close()
            for cut_off in executor.interrupted():
                self._keep(cut_off)
        return interrupted

    def _jobs(self) -> Iterator[Job]:
        for run in self._not_done(self.plan.todo):
            with signals_allowed():
                pass  # a stop that comes between two runs cuts nothing off
            job = _job(self.plan, run, self.command)
            yield replace(job, profile=self.profile, alone=self.exclusive_timing)

    def _keep(self, record: Record) -> None:
        with signals_deferred():
            try:
                self.store.write(record)
            except StoreError as error:
                self.console.close()
                self.problem = f"{error}. {rescued(record)}"
                raise
            self.counts[record.status] += 1
            self.console.run_finished(record)

    def _lost(self, record: Record) -> None:
        """A try that came to nothing is kept among the run's attempts."""
        self.store.write(record)
        self.console.progress(f"{record.name} is tried again: {first_line(record)}")

    def _not_done(self, runs: Sequence[Run]) -> Iterator[Run]:
        """The runs that no other command has done since the plan was made."""
        for run in runs:
            record = self.store.read(run.id)
            if (
                record is None
                or record.status in RERUN
                or record.content_hash == self.plan.seen.get(run.id)
            ):
                yield run
            else:
                self.console.progress(f"{record.name} was done meanwhile by another `bench run`:")
                self.counts[record.status] += 1
                self.console.run_finished(record)


def rescued(record: Record) -> str:
    """Writes a record that the disk did not take to standard error, as one line of JSON.

    Returns:
        What to do with it.
    """
    print(msgspec.json.format(encode(record), indent=-1).decode(), file=sys.stderr, flush=True)
    return (
        f"The record of {record.name} is the line of JSON above, whole: it can be put into "
        f"records/{record.run_id}.json"
    )


def _job(plan: "Plan", run: Run, command: str) -> Job:
    return Job(
        run=run,
        folder=str(plan.folder),
        data_dir=str(plan.data_dir),
        command=command,
        plugins={origin: plan.plugins[origin] for origin in run.plugins},
    )
