"""Records of newer and older versions."""

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


OK = ("ok", 1, 3, 0.3504999876022339, 4.496780284003762, 671.6341351355314, 176402, None, None)
GOLDEN_CONTENT = {  # see `content_of`
    "ok": OK,
    "line": OK,
    "failed": ("crashed", 2, 2, None, None, None, None, "WorkerLost", None),
    "conditions": ("ok", 1, 4, 0.7, 3.0, 1000.0, None, None, 250.5),
}


def content_of(record: Record) -> tuple[object, ...]:
    scores, speed, error = record.metrics, record.throughput, record.error
    return (
        record.status, record.attempt, len(record.curve), scores and scores.accuracy,
        scores and scores.time_to_accuracy_s, speed and speed.median, record.parameters,
        error and error.type, record.conditions.power_w,
    )  # fmt: skip


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_records_of_every_version_are_read(bench: Bench, version: int, tmp_path: Path) -> None:
    paths = {path.stem.split("_", 2)[2]: path for path in GOLDEN.glob(f"record_v{version}_*.json")}
    assert paths.keys() == GOLDEN_CONTENT.keys()
    store = Store(tmp_path / "cpu_shapes_cpu")
    (store.folder / "records").mkdir(parents=True)
    for name, path in paths.items():
        record = decode(path.read_bytes())
        assert json.loads(path.read_bytes())["schema_version"] == version
        assert content_of(record) == GOLDEN_CONTENT[name]
        shutil.copy(path, store.record_path(record.run_id))
    found = store.records(pytest.fail)
    assert len(found) == len(paths)
    done = bench("table", str(tmp_path), "--format", "csv")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 1 + len({record.cell for record in found})
