"""`bench data` shows what a source contains and what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Bench
from tests.made_sources import write_images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of 10 training and 2 test images; the name of one has two lines."""
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    classes, counts = ("cat", "dog", "two\nlines"), {"train": 10, "test": 2}
    tree = {f"{part}/{name}": count for part, count in counts.items() for name in classes}
    return write_images(tmp_path / "tree", tree)


def test_class_sizes_bad_and_skipped_files_are_shown(tree: Path, bench: Bench) -> None:
    for number in range(9):
        (tree / f"train/dog/{number}.png").write_text("no image")
    (tree / "train/labels.csv").touch()
    (tree / "train/@eaDir").mkdir()
    shown = bench("data", f"folder:{tree}")
    assert shown.exit_code == 1
    first, *rest = shown.stdout.splitlines()
    assert first.startswith(f"folder:{tree}[skip-bad=9]: 21 training and 6 test images of 32x32")
    assert rest == [
        "  cat: 10 training, 2 test", "  dog: 1 training, 2 test",
        "  two lines: 10 training, 2 test",
    ]  # fmt: skip
    assert "the class 'dog' has one training image" in shown.stderr
    assert "as unreadable: 9 entries (train/dog/0.png (it is not an image), " in shown.stderr
    assert "as not images of a class: 2 entries (train/@eaDir, train/labels.csv)" in shown.stderr
    assert "refuses this source" in shown.stderr
    left_out = bench("data", f"folder:{tree}", "--skip-bad")
    assert left_out.exit_code == 0
    assert left_out.stdout == shown.stdout


def test_validation_and_many_classes_are_counted(tree: Path, bench: Bench, tmp_path: Path) -> None:
    (tree / "test").rename(tree / "valid")
    shown = bench("data", f"folder:{tree}")
    assert "[test=val]: 30 training, 6 validation and 6 test images" in shown.stdout
    assert "  cat: 10 training, 2 validation, 2 test\n" in shown.stdout
    labels = np.repeat(np.arange(100), 3)[1:]
    np.savez(tmp_path / "many.npz", images=np.zeros((299, 8, 8), np.uint8), labels=labels)
    shown = bench("data", f"npz:{tmp_path / 'many.npz'}")
    assert shown.exit_code == 0
    assert "70 more classes; the smallest of all, 0, has 1 training images" in shown.stdout
    refused = bench("data", f"npz:{tmp_path / 'many.npz'}", "--skip-bad")
    assert refused.exit_code == 2
    assert "--skip-bad needs image files: --source folder:PATH" in refused.stderr
