"""A disk that fills up, and two grids for one folder."""

from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest

from bench.cell import Run
from bench.executors import worker
from bench.job import Job
from bench.store.codec import decode, encode
from bench.store.store import Store
from bench.training.setup import Shared
from pipelines import sources
from tests.faults import acting
from tests.faults.made import until
from tests.made import made_record, made_run, write_records
from tests.training.test_run import CELL

LIMIT = 70_000  # bytes a file: more than is tried before a grid begins, less than what must fail


def seeds(folder: Path) -> list[int]:
    return sorted(record.seed for record in Store(folder).records(pytest.fail))


def test_a_record_that_cannot_be_written_is_printed_whole_and_nothing_more_is_started(
    tmp_path: Path,
) -> None:
    for seed in range(2):
        run = made_run(seed, architecture="cnn4", pipeline="native")
        Store(tmp_path).write(made_record(seed, record={"run_id": run.id, "cell": run.cell}))
    before = {path: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
    grid = acting.start(tmp_path, seeds=5, noise=2 * LIMIT, limit=LIMIT)
    output, errors = grid.communicate(timeout=120)
    assert grid.returncode == 1, errors
    line, message = errors.splitlines()
    assert "File too large" in message
    assert "is the line of JSON above" in message
    assert "[1/3]" in output
    assert "[2/3]" not in output
    assert "to continue: bench run" in output
    assert {path: path.read_bytes() for path in (tmp_path / "records").glob("*.json")} == before
    assert not list(tmp_path.rglob("*.tmp"))

    record = decode(line.encode())
    (tmp_path / "records" / f"{record.run_id}.json").write_text(line)
    assert seeds(tmp_path) == [0, 1, 2]
    again = acting.start(tmp_path, seeds=5)
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "2 to run, 3 done" in output
    assert seeds(tmp_path) == [0, 1, 2, 3, 4]


def test_tables_that_cannot_be_written_lose_no_record(tmp_path: Path) -> None:
    """The matrix of many cells is larger than a file may be, the records are not."""
    records = [made_record(0, epochs=epochs, record={"curve": ()}) for epochs in range(1, 401)]
    assert max(len(encode(record)) for record in records) < LIMIT
    write_records(tmp_path, records)
    grid = acting.start(tmp_path, seeds=2, limit=LIMIT)
    output, errors = grid.communicate(timeout=120)
    assert grid.returncode == 1, errors
    assert "the tables are not up to date: cannot write" in errors
    assert "`bench table` shows all records" in output
    assert len(seeds(tmp_path)) == 402
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_is_ok_though_its_artifacts_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorboard", "predictions", "examples"):
        (tmp_path / name).write_text("a file")
    monkeypatch.setattr(worker, "redirect_output", lambda log: None)
    data_dir = str(sources.default_data_dir())
    job = Job(run=Run(cell=CELL, seed=0), folder=str(tmp_path), data_dir=data_dir)
    record = worker.run_job(job, Shared(), BytesIO(), import_s=0.0)
    assert record.status == "ok"
    output = capsys.readouterr().out
    for name in ("tensorboard", "predictions"):
        assert f"{tmp_path}/{name}" in output


def test_a_grid_that_waits_for_the_folder_does_only_what_is_left(tmp_path: Path) -> None:
    """Its plan was made before; what the other grid has done is not done again."""
    first = acting.start(tmp_path, seeds=2, work_s=1.5)
    until(lambda: list((tmp_path / "logs").glob("*.log")), lambda: "it never began")
    second = acting.start(tmp_path, seeds=3, wait=True)
    for grid in (first, second):
        output, errors = grid.communicate(timeout=300)
        assert grid.returncode == 0, errors
    assert f"waiting for {tmp_path}: already running (pid {first.pid} on " in output
    assert "seed0 was done in the meantime by another `bench run`" in output
    assert "3 runs: 3 ok" in output
    records = Store(tmp_path).records(pytest.fail)
    assert sorted((record.seed, record.attempt) for record in records) == [(0, 1), (1, 1), (2, 1)]
    by = Counter(record.environment["by"] for record in records)
    assert by == {first.pid: 2, second.pid: 1}
