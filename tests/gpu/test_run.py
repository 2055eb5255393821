"""A grid, and pipelines measured alone, by their commands on a CUDA device."""

import json
from pathlib import Path

from typer.testing import CliRunner

from bench.cli import app
from bench.store.groups import groups
from bench.store.store import Store
from tests.gpu.device import DEVICE, on_the_device

pytestmark = on_the_device


def test_the_smoke_grid_runs(tmp_path: Path) -> None:
    arguments = ["run", "--grid", "smoke", "--source", "shapes", "--device", DEVICE]
    done = CliRunner().invoke(app.app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (group,) = groups(tmp_path)
    records = Store(group.folder).records()
    assert {record.status for record in records} <= {"ok", "skipped"}
    trained = [record for record in records if record.status == "ok"]
    assert trained
    for record in trained:
        assert record.cell.device == DEVICE
        if DEVICE == "cuda":
            assert record.cell.precision == "bf16"
            assert record.compiled
            assert record.timings.train_device_s
            assert record.timings.train_device_s <= 1.01 * record.timings.train_s
            assert record.memory.torch_gib
            assert record.environment["gpu"]


def test_a_pipeline_is_measured_alone(tmp_path: Path) -> None:
    arguments = ["loaders", "--pipeline", "native[eager]", "--batch-size", "256", "--repeats", "3"]
    more = ["--seconds", "0.05", "--source", "shapes", "--device", DEVICE, "--format", "json"]
    done = CliRunner().invoke(app.app, [*arguments, *more, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.glob("*/loaders.json")
    found = json.loads(path.read_text())
    assert found["device"] == DEVICE
    assert [row["status"] for row in found["rows"]] == ["ok"]
    assert len(found["rows"][0]["repeats"]) == 3
