"""`bench loaders` from the command line, with real pipelines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.loaders import measure
from tests.made_loaders import disturbed, made_loaders, made_series
from tests.made_sources import write_images


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a short measurement on 40 small images."""
    folder = tmp_path_factory.mktemp("images")
    counts = {"train/a": 20, "train/b": 20, "test/a": 4, "test/b": 4}
    write_images(folder / "tree", counts)
    return ["loaders", "--source", f"folder:{folder / 'tree'}", "--data-dir", str(folder / "data"),
            "--image-size", "8", "--augmentation", "flip_crop", "--device", "cpu",
            "--pipeline", "native[eager]"]  # fmt: skip


def test_two_real_pipelines_are_measured(arguments: list[str], tmp_path: Path) -> None:
    more = ["--decode", "--cold", "--pipeline", "torchvision[workers=0]", "--batch-size", "8",
            "--repeats", "3", "--seconds", "0.05", "--format", "json",
            "--out", str(tmp_path)]  # fmt: skip
    done = CliRunner().invoke(app.app, [*arguments, *more])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    reads = {row["pipeline"]: row["reads"] for row in found["rows"]}
    assert reads == {"native[eager]": "files", "torchvision[workers=0]": "files"}
    for row in found["rows"]:
        assert row["status"] == "ok"
        assert 3 <= len(row["repeats"]) <= 6, "disturbed ones are measured again"
        assert row["images_per_s"] > 0
        assert row["first_batch_s"] > 0
        assert row["draws"] == "per sample"
        assert row["cpu_s_per_1000"] > 0
        assert row["processes_gib"] is None or row["processes_gib"] > 0
        assert 0 < row["cold"]["images"] <= 40, "an epoch at most"
        assert {repeat["page_cache"] for repeat in row["repeats"]} <= {"warm", "unknown"}
    assert found["environment"]["torch"]
    (written,) = tmp_path.glob("*/loaders.json")
    assert written.read_text() == done.stdout
    assert {path.suffix for path in written.parent.glob("loaders.*")} == {".json", ".csv", ".md"}
    assert (written.parent / "tensorboard" / "loaders" / "native-eager").is_dir()


def test_interrupted_and_disturbed_series_are_kept_and_reported(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How they arise is tested in `tests/loaders/test_measure.py`."""
    cut = made_series("cut", 9000, status="interrupted", reason="stopped after 1 of 5 repeats")
    record = made_loaders(disturbed(made_series("busy", 10, 11, 12)), cut)
    monkeypatch.setattr(measure, "measure", lambda plan, report: record)
    done = CliRunner().invoke(app.app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 130, done.output
    assert "interrupted: stopped after 1 of 5 repeats" in done.stdout
    notice = "1 of 2 series have suspect timings: measure again on a quiet machine"
    assert notice in " ".join(done.stderr.split())
    (written,) = tmp_path.glob("*/loaders.json")
    rows = json.loads(written.read_text())["rows"]
    assert {(row["status"], row["rank"]) for row in rows} == {("ok", None), ("interrupted", None)}
    assert "interrupted" in written.with_suffix(".csv").read_text()
