"""Carrying out a plan: records at once, tables at the end, the exit code."""

import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import MappingProxyType

import pytest

from bench.cli.progress import TextReporter
from bench.executors.base import Watcher
from bench.executors.runner import GridOutcome, run_plan
from bench.grid.plan import Plan
from bench.job import Job, RecordBuilder
from bench.process import signals_allowed
from bench.record import FAILED, RERUN, Failure, Record, Status
from bench.store import codec, files
from bench.store import store as storing
from bench.store.codec import decode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.made import made_curve, made_failure, made_metrics, made_record, made_run


class Executor:
    """Gives each seed the status it is told to; "stop" stands for Ctrl-C in the middle of it."""

    statuses: tuple[str, ...] = ()
    epochs: Mapping[int, int] = MappingProxyType({})  # of seeds that have more than one

    def __init__(self) -> None:
        self.closed = False
        self.jobs: list[Job] = []
        self._builder: RecordBuilder | None = None
        made.append(self)

    def run(self, jobs: Sequence[Job], watcher: Watcher) -> Generator[Record, None, None]:
        try:
            for job in jobs:
                watcher.started(job)
                self.jobs.append(job)
                self._builder = RecordBuilder(job=job)
                for point in made_curve(self.epochs.get(job.run.seed, 1), 100, 0.5):
                    self._builder.curve.append(point)
                    watcher.epoch(job, point, None)
                status = self.statuses[job.run.seed]
                if status == "stop":
                    with signals_allowed():
                        signal.raise_signal(signal.SIGTERM)
                record = finished(self._builder, status.removesuffix(", stop"))
                if status.endswith(", stop"):
                    signal.raise_signal(signal.SIGINT)
                self._builder = None
                yield record
        finally:
            self.closed = True

    def interrupted(self) -> list[Record]:
        assert self.closed
        return [] if self._builder is None else [finished(self._builder, "interrupted")]

    def close(self) -> None:
        self.closed = True


made: list[Executor] = []


def finished(builder: RecordBuilder, status: Status) -> Record:
    if status == "ok":
        builder.metrics = made_metrics(0.5, None)
        return builder.record("ok")
    return builder.record(status, Failure(type="Fault", message="it broke"))


@pytest.fixture(autouse=True)
def _none_made() -> None:
    made.clear()


def planned(folder: Path, seeds: int) -> Plan:
    runs = [made_run(seed) for seed in range(seeds)]
    return Plan(device="cpu", folder=folder, data_dir=folder, runs=runs, todo=runs)


def carry_out(plan: Plan, *statuses: str, fail_fast: bool = False) -> tuple[GridOutcome, str]:
    Executor.statuses = statuses
    out = StringIO()
    console = TextReporter(file=out, terminal=False)
    console.plan(plan)
    outcome = run_plan(plan, console, executor=Executor(), command="bench run", fail_fast=fail_fast)
    return outcome, out.getvalue()


def statuses_of(folder: Path) -> dict[int, str]:
    return {record.seed: record.status for record in Store(folder).records()}


def test_every_record_is_kept_and_the_table_is_written(tmp_path: Path) -> None:
    outcome, text = carry_out(planned(tmp_path, 2), "ok", "ok")
    assert outcome.exit_code == 0
    assert outcome.counts == {"ok": 2}
    assert statuses_of(tmp_path) == {0: "ok", 1: "ok"}
    folder = str(tmp_path)
    assert made[0].jobs == [
        Job(run=made_run(seed), folder=folder, data_dir=folder, command="bench run")
        for seed in range(2)
    ]
    assert "resnet18" in (tmp_path / "matrix.md").read_text()
    assert "resnet18" in (tmp_path / "matrix.csv").read_text()
    assert "[1/2] resnet18/sgd/flip_crop/kornia/seed0 started" in text
    assert "[2/2] resnet18/sgd/flip_crop/kornia/seed1 started" in text


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_run_is_a_row_and_the_rest_goes_on(tmp_path: Path, status: str) -> None:
    outcome, _ = carry_out(planned(tmp_path, 2), status, "ok")
    assert outcome.exit_code == 1
    assert statuses_of(tmp_path) == {0: status, 1: "ok"}
    assert f"1 ok, 1 {status}" in (tmp_path / "matrix.md").read_text()


def test_fail_fast_stops_at_the_first_failure_and_still_writes_the_table(tmp_path: Path) -> None:
    outcome, _ = carry_out(planned(tmp_path, 3), "ok", "oom", "ok", fail_fast=True)
    assert outcome.exit_code == 1
    assert statuses_of(tmp_path) == {0: "ok", 1: "oom"}
    assert (tmp_path / "matrix.md").exists()
    assert made[0].closed


def test_a_run_that_was_skipped_by_its_worker_is_no_failure(tmp_path: Path) -> None:
    outcome, _ = carry_out(planned(tmp_path, 2), "skipped", "ok", fail_fast=True)
    assert outcome.exit_code == 0
    assert statuses_of(tmp_path) == {0: "skipped", 1: "ok"}


def test_a_stop_keeps_what_is_known_of_the_run_it_cut_off(tmp_path: Path) -> None:
    outcome, _ = carry_out(planned(tmp_path, 3), "ok", "stop", "ok")
    assert outcome.exit_code == 130
    assert statuses_of(tmp_path) == {0: "ok", 1: "interrupted"}
    cut_off = Store(tmp_path).read(made_run(1).id)
    assert len(cut_off.curve) == 1
    assert "interrupted" in (tmp_path / "matrix.md").read_text()
    assert made[0].closed


@pytest.mark.parametrize("status", ["ok", "crashed"])
def test_a_stop_between_a_run_and_its_record_loses_nothing(tmp_path: Path, status: str) -> None:
    outcome, _ = carry_out(planned(tmp_path, 2), f"{status}, stop", "ok")
    assert outcome.exit_code == 130
    assert statuses_of(tmp_path) == {0: status}
    assert (tmp_path / "matrix.md").exists()


def test_a_stop_comes_after_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Store.write

    def stopped(store: Store, record: Record) -> Record:
        signal.raise_signal(signal.SIGTERM)
        return write(store, record)

    monkeypatch.setattr(Store, "write", stopped)
    outcome, text = carry_out(planned(tmp_path, 2), "ok", "ok")
    assert outcome.exit_code == 130
    assert outcome.counts == {"ok": 1}
    assert statuses_of(tmp_path) == {0: "ok"}
    assert "ok         resnet18/sgd/flip_crop/kornia/seed0" in text


def test_a_second_stop_skips_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = lambda *_: signal.raise_signal(signal.SIGINT)  # noqa: E731
    monkeypatch.setattr("bench.report.table.write_matrix", stop)
    outcome, text = carry_out(planned(tmp_path, 2), "ok", "stop")
    assert outcome.exit_code == 130
    assert statuses_of(tmp_path) == {0: "ok", 1: "interrupted"}
    assert "the tables are not up to date" in text


def test_a_disk_that_fills_up_leaves_no_worker_and_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Store.write

    def full(store: Store, record: Record) -> Record:
        if record.seed == 1:
            raise StoreError("cannot write: No space left on device")
        return write(store, record)

    monkeypatch.setattr(Store, "write", full)
    outcome, text = carry_out(planned(tmp_path, 4), "ok", "ok", "ok", "ok")
    assert made[0].closed
    assert statuses_of(tmp_path) == {0: "ok"}
    assert (outcome.exit_code, outcome.counts) == (1, {"ok": 1})
    assert "No space left on device. The record of resnet18" in outcome.problem
    assert "seed2 started" not in text
    (line,) = capsys.readouterr().err.splitlines()
    saved = decode(line.encode())
    assert (saved.seed, saved.status) == (1, "ok")
    assert "resnet18" in (tmp_path / "matrix.md").read_text()


def test_unwritable_tables_cost_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.name == "matrix.csv":
            raise StoreError(f"cannot write {path}: No space left on device")
        write(path, content)

    monkeypatch.setattr(storing, "write_atomically", full)
    outcome, text = carry_out(planned(tmp_path, 2), "ok", "ok")
    assert statuses_of(tmp_path) == {0: "ok", 1: "ok"}
    assert (outcome.exit_code, outcome.counts) == (1, {"ok": 2})
    assert "the tables are not up to date: cannot write" in outcome.problem
    assert "`bench table` shows all records" in text


def test_a_failure_of_before_counts_unless_another_command_has_mended_it(tmp_path: Path) -> None:
    plan = replace(planned(tmp_path, 0), failed=[Store(tmp_path).write(made_failure(0))])
    outcome, _ = carry_out(plan)
    assert (outcome.exit_code, outcome.counts["crashed"]) == (1, 1)
    Store(tmp_path).write(made_record(0))
    outcome, _ = carry_out(plan)
    assert (outcome.exit_code, outcome.counts) == (0, {"ok": 1})


def test_skipped_runs_are_recorded_with_their_reason_and_start_no_worker(tmp_path: Path) -> None:
    plan = replace(planned(tmp_path, 1), todo=[], skipped=[(made_run(5), "dali has no Cutout")])
    outcome, _ = carry_out(plan)
    assert outcome.exit_code == 0
    assert outcome.counts["skipped"] == 1
    (record,) = Store(tmp_path).records()
    assert record.status == "skipped"
    assert record.error.message == "dali has no Cutout"
    assert "skipped: dali has no Cutout" in (tmp_path / "matrix.md").read_text()
    assert made[0].jobs == []


def test_what_was_done_counts_and_a_status_fails_a_grid_or_is_retried(tmp_path: Path) -> None:
    done = Store(tmp_path).write(made_record(0))
    plan = replace(planned(tmp_path, 1), todo=[], done=[done])
    outcome, _ = carry_out(plan)
    assert (outcome.exit_code, outcome.counts) == (0, {"ok": 1})
    assert (made[0].jobs, made[0].closed) == ([], True)
    assert not set(FAILED) & set(RERUN)
    assert {"ok", *FAILED, *RERUN} == set(Status.__args__)


def test_a_second_grid_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path).lock(), pytest.raises(StoreError, match="is in use: already running"):
        carry_out(planned(tmp_path, 1), "ok")
    assert statuses_of(tmp_path) == {}


@pytest.mark.parametrize("ending", ["ok", "stop"])
def test_a_record_that_is_too_large_costs_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """The confusion matrix of thousands of classes, for example."""
    monkeypatch.setattr(codec, "LARGEST_FILE", 10_000)
    monkeypatch.setattr(Executor, "epochs", {1: 1000})
    outcome, _ = carry_out(planned(tmp_path, 3), "ok", ending, "ok")
    assert outcome.exit_code == (1 if ending == "ok" else 130)
    large = Store(tmp_path).read(made_run(1).id)
    assert large.status == "crashed"
    assert large.error.type == "RecordTooLarge"
    assert "more than the 10,000" in large.error.message
    assert not large.curve
    rest = {2: "ok"} if ending == "ok" else {}
    assert statuses_of(tmp_path) == {0: "ok", 1: "crashed"} | rest


def test_runs_that_another_command_has_done_meanwhile_are_not_trained(tmp_path: Path) -> None:
    """Seed 0 is retried, seed 1 was just retried, seed 2 ended well, seeds 3 and 4 are left."""
    store = Store(tmp_path)
    for seed in (0, 1):
        store.write(made_failure(seed))
    seen = {record.run_id: record.content_hash for record in store.records()}
    store.write(made_failure(1))
    store.write(made_record(2))
    for seed, status in ((3, "interrupted"), (4, "skipped")):
        store.write(made_failure(seed, status=status))
    outcome, text = carry_out(replace(planned(tmp_path, 5), seen=seen), *["ok"] * 5)
    assert (outcome.exit_code, outcome.counts) == (1, {"ok": 4, "crashed": 1})
    assert statuses_of(tmp_path) == {0: "ok", 1: "crashed", 2: "ok", 3: "ok", 4: "ok"}
    assert [job.run.seed for job in made[0].jobs] == [0, 3, 4]
    for seed in (1, 2):
        assert f"seed{seed} was done in the meantime by another `bench run`" in text
