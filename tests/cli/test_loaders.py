"""`bench loaders` from the command line, with real pipelines."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.process import usable_cores
from tests.checkout import ROOT


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A call that is over soon, on a folder of forty small images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(48):
        part = "train" if number < 40 else "test"
        path = folder / "tree" / part / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
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


@pytest.mark.slow
def test_nothing_is_ranked_while_every_core_is_busy(arguments: list[str], tmp_path: Path) -> None:
    more = ["--pipeline", "torchvision", "--batch-size", "8", "--repeats", "3", "--seconds", "0.2",
            "--out", str(tmp_path)]  # fmt: skip
    spin = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"
    busy = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(usable_cores())]
    try:
        done = CliRunner().invoke(app.app, [*arguments, *more])
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.exit_code == 0, done.output
    assert "2 of 2 series have suspect timings: measure again on a quiet machine" in done.stderr
    assert "other processes used" in done.stdout
    (written,) = tmp_path.glob("*/loaders.json")
    found = json.loads(written.read_text())["rows"]
    assert [row["rank"] for row in found] == [None, None]
    assert all(len(row["repeats"]) == 6 for row in found)


def lines_until(process: "subprocess.Popen[str]", end: str) -> Iterator[str]:
    """Lines of standard error, the last of them the one that ends so."""
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if line.rstrip().endswith(end):
            return


@pytest.mark.slow
def test_ctrl_c_keeps_finished_measurements(arguments: list[str], tmp_path: Path) -> None:
    more = ["--batch-size", "8", "--batch-size", "16", "--repeats", "100000", "--seconds", "0.01",
            "--out", str(tmp_path)]  # fmt: skip
    line = [sys.executable, "-m", "bench", *arguments, *more]
    process = subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert any("repeat 4 of 100000" in text for text in lines_until(process, "4 of 100000"))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "native[eager]" in shown
    assert "interrupted: stopped after" in shown
    (written,) = tmp_path.glob("*/loaders.json")
    first, second = json.loads(written.read_text())["rows"]
    assert (first["status"], second["status"]) == ("interrupted", "interrupted")
    assert len(first["repeats"]) >= 3
    assert first["images_per_s"] > 0
    assert "interrupted" in written.with_suffix(".csv").read_text()
