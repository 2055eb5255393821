"""A disk that fills up, is too small, read-only, or no disk at all."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.store.codec import decode, encode
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_record, made_run

LIMIT = 70_000  # bytes a file: above what is tried before a grid begins, below what is to fail


def acted(folder: Path, **order: object) -> "subprocess.CompletedProcess[str]":
    """A grid whose worker pretends to train; see `tests.faults.acting`."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.acting", str(folder), json.dumps(order)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def seeds(folder: Path) -> list[int]:
    return sorted(record.seed for record in Store(folder).records(pytest.fail))


def test_a_record_that_cannot_be_written_is_printed_whole_and_nothing_more_is_started(
    tmp_path: Path,
) -> None:
    """By RLIMIT_FSIZE: exit 1, the record on standard error, those of before intact."""
    for seed in range(2):
        run = made_run(seed, architecture="cnn4", pipeline="native")
        Store(tmp_path).write(made_record(seed, record={"run_id": run.id, "cell": run.cell}))
    before = {path: path.read_bytes() for path in (tmp_path / "records").glob("*.json")}
    done = acted(tmp_path, seeds=5, noise=2 * LIMIT, limit=LIMIT)
    assert done.returncode == 1, done.stderr
    line, said = done.stderr.splitlines()
    assert "File too large" in said
    assert "is the line of JSON above" in said
    assert "[1/3]" in done.stdout
    assert "[2/3]" not in done.stdout
    assert "to continue: bench run" in done.stdout
    assert {path: path.read_bytes() for path in (tmp_path / "records").glob("*.json")} == before
    assert not list(tmp_path.rglob("*.tmp"))

    record = decode(line.encode())
    (tmp_path / "records" / f"{record.run_id}.json").write_text(line)
    assert seeds(tmp_path) == [0, 1, 2]
    again = acted(tmp_path, seeds=5)
    assert again.returncode == 0, again.stderr
    assert "2 to run, 3 done" in again.stdout
    assert seeds(tmp_path) == [0, 1, 2, 3, 4]


def test_tables_that_cannot_be_written_lose_no_record(tmp_path: Path) -> None:
    """The matrix of many cells is larger than a file may be, the records are not."""
    folder = tmp_path / "records"
    folder.mkdir(parents=True)
    for epochs in range(1, 401):
        record = made_record(0, epochs=epochs, record={"curve": ()})
        (folder / f"{record.run_id}.json").write_bytes(encode(record))
    done = acted(tmp_path, seeds=2, limit=LIMIT)
    assert done.returncode == 1, done.stderr
    assert "the tables are not up to date: cannot write" in done.stderr
    assert "`bench table` shows all records" in done.stdout
    assert len(seeds(tmp_path)) == 402
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What real grids did on small disks; see `tests.faults.full_disk`."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "true"], check=False).returncode:
        pytest.skip("no mounts of one's own without root: disks cannot be made to fill up")
    line = [unshare, "--mount", sys.executable, "-m", "tests.faults.full_disk"]
    folder = tmp_path_factory.mktemp("disks")
    done = subprocess.run(
        [*line, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_little_room_is_warned_of_and_hardly_any_is_refused(disks: dict[str, Any]) -> None:
    said = disks["said"]
    assert "100 MiB are free" in said["for many"]
    assert "make room for at least 314 MiB" in said["for many"]
    assert said["for few"] == ""
    assert "only 8 MiB are free" in said["small"]


@pytest.mark.slow
def test_a_disk_that_fills_up_in_a_real_run_costs_neither_it_nor_those_before(
    disks: dict[str, Any],
) -> None:
    """The run ends well without its log, event file, predictions and example."""
    full = disks["full"]
    assert full["code"] == 1, full["errors"]
    started = [event for event in full["events"] if event["event"] == "started"]
    assert len(started) == 2
    assert full["records"] == {"0": "ok"}
    line, said = full["errors"].splitlines()
    record = decode(line.encode())
    assert (record.seed, record.status, len(record.curve)) == (1, "ok", 1)
    assert record.metrics is not None
    assert "No space left on device" in said
    assert f"records/{record.run_id}.json" in said
    assert "bench run --source shapes" in said


@pytest.mark.slow
def test_a_run_is_ok_though_its_event_file_and_predictions_cannot_be_written(
    disks: dict[str, Any],
) -> None:
    """The second run above had neither, the first had both."""
    files, ids = disks["full"]["files"], [e["run_id"] for e in disks["full"]["events"][0]["todo"]]
    events = {name.split("/")[1]: size for name, size in files.items() if "tfevents" in name}
    of_run = {run_id: [n for n in events if n.endswith(run_id[:8])] for run_id in ids[:2]}
    assert f"predictions/{ids[0]}.npz" in files
    assert f"predictions/{ids[1]}.npz" not in files
    assert events[of_run[ids[0]][0]] > 0
    assert all(events[name] < events[of_run[ids[0]][0]] / 2 for name in of_run[ids[1]])
    assert not [name for name in files if name.endswith(".tmp")]


@pytest.mark.slow
def test_a_path_with_spaces_and_other_scripts_is_a_path(disks: dict[str, Any]) -> None:
    """The runs above went to a folder with such a name, which the command quotes."""
    summary = disks["full"]["events"][-1]
    assert "räksmörgås results 🍤" in summary["table"]
    assert "'" in summary["command"].split("--out")[1]


@pytest.mark.slow
def test_a_read_only_disk_is_told_before_anything_is_trained(disks: dict[str, Any]) -> None:
    assert "Read-only file system" in disks["said"]["read-only"]


def test_what_is_no_folder_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    """Nothing is started and the file stays as it is."""
    (tmp_path / "results").write_text("a file")
    done = acted(tmp_path / "results" / "group", seeds=1)
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "Not a directory" in done.stderr
    assert (tmp_path / "results").read_text() == "a file"


def test_the_limit_is_between_what_is_tried_and_what_is_to_fail() -> None:
    """The tests above test nothing if a record fits or the trial before a grid does not."""
    plain = replace(made_record(), run_id=made_run().id)
    assert LIMIT > 65536
    assert len(encode(plain)) < LIMIT
