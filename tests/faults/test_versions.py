"""Records of other versions."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.record import SCHEMA_VERSION, Record
from bench.store.codec import decode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.checkout import ROOT
from tests.cli.conftest import Bench
from tests.made import made_record, write_records

GOLDEN = ROOT / "tests" / "golden"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "verb",
    [
        "run --device cpu",
        "table results",
        "report results",
        "show resnet18 results",
        "tensorboard results --rebuild",
        "merge results --out all",
    ],
)
def test_a_record_of_a_newer_version_is_refused(refused: Callable[..., str], verb: str) -> None:
    store = Store(planning.make(RunOptions(device="cpu"), print).folder)
    store.write(made_record(7))
    newer = made_record(3, record={"schema_version": SCHEMA_VERSION + 1})
    write_records(store.folder, [newer])
    before = contents(Path())
    message = refused(*verb.split())
    assert f"{newer.run_id}.json" in message
    assert f"schema {SCHEMA_VERSION + 1}" in message
    assert "upgrade" in message
    with pytest.raises(StoreError, match=r"schema .*upgrade"):
        store.write(made_record(3))
    assert contents(Path()) == before


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_records_of_every_version_are_read(bench: Bench, version: int, tmp_path: Path) -> None:
    paths = sorted(GOLDEN.glob(f"record_v{version}_*.json"))
    assert {name_of(path) for path in paths} >= {"ok", "failed"}
    store = Store(tmp_path / "cpu_shapes_cpu")
    (store.folder / "records").mkdir(parents=True)
    for path in paths:
        record = decode(path.read_bytes())
        assert json.loads(path.read_bytes())["schema_version"] == version
        check_content(record, name_of(path))
        shutil.copy(path, store.record_path(record.run_id))
    found = store.records(pytest.fail)
    assert len(found) == len(paths)
    done = bench("table", str(tmp_path), "--format", "csv")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 1 + len({record.cell for record in found})


def name_of(golden: Path) -> str:
    return golden.stem.split("_", 2)[2]


def check_content(record: Record, name: str) -> None:
    if name == "failed":
        found = (record.status, record.error.type, record.attempt, len(record.curve))
        assert found == ("crashed", "WorkerLost", 2, 2)
        return
    if name == "conditions":
        assert (record.conditions.power_w, record.energy_j) == (250.5, 1234.5)
        return
    assert (
        record.metrics.accuracy,
        record.metrics.time_to_accuracy_s,
        record.throughput.median,
        record.curve[-1].epoch,
        record.parameters,
    ) == (0.3504999876022339, 4.496780284003762, 671.6341351355314, 3, 176402)
