"""A disk that fills up, and two grids for one folder."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.store.codec import decode, encode
from bench.store.store import Store
from tests.checkout import ROOT
from tests.faults import acting
from tests.faults.made import until
from tests.made import made_record, made_run, write_records

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


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_neither_the_run_nor_those_before(tmp_path: Path) -> None:
    """The run ends well without its event file and predictions."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "true"], check=False).returncode:
        pytest.skip("needs root, to mount a small disk")
    done = subprocess.run(
        [unshare, "--mount", sys.executable, "-m", "tests.faults.full_disk", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["code"] == 1, found["errors"]
    assert sum(event["event"] == "started" for event in found["events"]) == 2
    assert found["records"] == {"0": "ok"}
    line, message = found["errors"].splitlines()
    record = decode(line.encode())
    assert (record.seed, record.status, len(record.curve)) == (1, "ok", 1)
    assert record.metrics is not None
    assert "No space left on device" in message
    assert f"records/{record.run_id}.json" in message

    first, second = (run["run_id"] for run in found["events"][0]["todo"][:2])
    sizes = {
        run_id: sum(
            size for name, size in found["files"].items()
            if "tfevents" in name and name.split("/")[1].endswith(run_id[:8])
        )
        for run_id in (first, second)
    }  # fmt: skip
    assert sizes[second] < sizes[first] / 2
    assert f"predictions/{first}.npz" in found["files"]
    assert f"predictions/{second}.npz" not in found["files"]
    assert not [name for name in found["files"] if name.endswith(".tmp")]
    assert "'" in found["events"][-1]["command"].split("--out")[1]  # a name with spaces is quoted


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
