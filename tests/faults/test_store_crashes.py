"""Writers that are killed, damaged records, records of other versions."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.executors import runner as executing
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.machine.environment import Probe
from bench.record import SCHEMA_VERSION, Record
from bench.store.codec import RecordError, decode, encode
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_failure, made_record
from tests.made_device import device_is

GOLDEN = ROOT / "tests" / "golden"
MEMORY = Path("/dev/shm")
KILLS = 100


@pytest.mark.parametrize("where", [pytest.param("disk", marks=pytest.mark.slow), "memory"])
def test_a_writer_that_is_killed_at_any_point_loses_nothing_and_leaves_nothing_half(
    tmp_path: Path, where: str
) -> None:
    """Kill -9 at random points of the write path, 100 times on a disk and in memory each.

    `mid-write` counts the kills between a record's first system call and its last, `temporary file
    left` those of them that came before the rename. On a disk nearly all of either are in fsync;
    in memory they are anywhere.
    """
    place = tmp_path if where == "disk" or not MEMORY.is_dir() else Path(mkdtemp(dir=MEMORY))
    longest_s = "0.04" if where == "disk" else "0.01"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.kill_loop", str(place), str(KILLS), longest_s],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        shutil.rmtree(place)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["mid-write"] > KILLS / 2, seen
    assert seen["temporary file left"] > (KILLS / 10 if where == "disk" else 0), seen
    assert seen["records written"] > KILLS / 20, seen


HOOKED = """
import os, signal, sys
from pathlib import Path
from bench.store.store import Store
from tests.made import made_record
store = Store(Path(sys.argv[1]))
Path.replace = lambda path, target: os.kill(os.getpid(), signal.SIGKILL)
store.write(made_record())
"""


def test_a_kill_between_the_temporary_file_and_its_rename_keeps_the_old_record(
    tmp_path: Path,
) -> None:
    """By a hook: the record of before is there, the rest is cleared away with a note."""
    store = Store(tmp_path)
    store.write(made_failure())
    before = store.records()
    done = subprocess.run([sys.executable, "-c", HOOKED, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -9
    (left,) = tmp_path.rglob("*.tmp")
    assert store.records() == before
    notes: list[str] = []
    with store.lock(notice=notes.append):
        assert not list(tmp_path.rglob("*.tmp"))
    (note,) = notes
    assert str(left.relative_to(tmp_path)) in note


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a GPU whose only source is `shapes`; its group's folder, with a record."""
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=lambda asked, data_dir, report: ("shapes", ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    probe = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, probe)
    monkeypatch.setattr(planning, "sources", sources)
    monkeypatch.setattr(executing, "LocalExecutor", lambda **_: pytest.fail("it trained"))
    folder = planning.make(RunOptions(device="cpu"), print).folder
    Store(folder).write(made_record(7))
    return folder


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "truncated": lambda text: text[: len(text) // 2],
    "garbled": lambda text: bytes(byte ^ 0x5A for byte in text),
    "changed": lambda text: text.replace(b'"seed":1', b'"seed":2'),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_record_is_set_aside_and_its_run_is_to_do_again(machine: Path, how: str) -> None:
    """`bench table` shows the rest and names file and reason; `bench run` does it."""
    plan = planning.make(RunOptions(device="cpu"), print)
    run = plan.todo[0]
    record = made_record(1, record={"run_id": run.id})
    damaged = DAMAGES[how](encode(record))
    path = machine / "records" / f"{run.id}.json"
    path.write_bytes(damaged)
    done = bench("table", "results")
    assert done.exit_code == 0, done.output
    assert "resnet18" in done.stdout
    (line,) = done.stderr.splitlines()
    aside = machine / "records" / ".quarantine" / path.name
    assert aside.read_bytes() == damaged
    assert str(path.relative_to(machine)) in line
    assert re.search("not JSON|hash does not match", line)
    assert "its run counts as not done" in line
    again = planning.make(RunOptions(device="cpu"), print)
    assert run in again.todo


VERBS = [
    ["run", "--device", "cpu"],
    ["table", "results"],
    ["report", "results"],
    ["show", "resnet18", "results"],
    ["tensorboard", "results", "--rebuild"],
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_record_of_a_newer_version_is_refused_and_untouched(
    machine: Path, verb: list[str]
) -> None:
    """Every verb says which file and what to do, ends with 2, and changes nothing."""
    newer = made_record(3, record={"schema_version": SCHEMA_VERSION + 1})
    path = machine / "records" / f"{newer.run_id}.json"
    path.write_bytes(encode(newer))
    before = contents(machine)
    done = bench(*verb)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: ")
    assert path.name in line
    assert f"schema {SCHEMA_VERSION + 1}" in line
    assert "upgrade" in line
    assert contents(machine) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def golden(version: int) -> list[Path]:
    return sorted(GOLDEN.glob(f"record_v{version}_*.json"))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_records_of_every_version_so_far_can_be_read(version: int, tmp_path: Path) -> None:
    """Files as each version wrote them are read by this one, and shown."""
    paths = golden(version)
    assert {path.stem.split("_", 2)[2] for path in paths} >= {"ok", "failed"}
    store = Store(tmp_path / "cpu_shapes_cpu")
    (store.folder / "records").mkdir(parents=True)
    for path in paths:
        record = decode(path.read_bytes())
        assert json.loads(path.read_bytes())["schema_version"] == version
        assert as_promised(record, path.stem.split("_", 2)[2])
        shutil.copy(path, store.record_path(record.run_id))
    found = store.records(pytest.fail)
    assert len(found) == len(paths)
    done = bench("table", str(tmp_path), "--format", "csv")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 1 + len({record.cell for record in found})


def as_promised(record: Record, name: str) -> bool:
    """Whether what the golden file of that name holds has come through."""
    if name == "failed":
        assert record.error is not None
        found = (record.status, record.error.type, record.attempt, len(record.curve))
        return found == ("crashed", "WorkerLost", 2, 2)
    assert record.metrics is not None
    assert record.throughput is not None
    if name == "conditions":
        return (record.conditions.power_w, record.energy_j) == (250.5, 1234.5)
    return (
        record.metrics.accuracy,
        record.metrics.time_to_accuracy_s,
        record.throughput.median,
        record.curve[-1].epoch,
        record.parameters,
    ) == (0.3504999876022339, 4.496780284003762, 671.6341351355314, 3, 176402)


def test_a_golden_file_that_was_touched_is_noticed() -> None:
    """The test above rests on files that nobody rewrites: their hashes are of their content."""
    path = GOLDEN / "record_v1_ok.json"
    changed = path.read_bytes().replace(b'"seed": 0', b'"seed": 1')
    assert changed != path.read_bytes()
    with pytest.raises(RecordError, match="hash does not match"):
        decode(changed)
