"""A new architecture, optimizer, augmentation or pipeline is one new file and touches no other."""

import re
from pathlib import Path

import pytest

from tests import checkout
from tests.made_plugins import MINE

# The example of the docs in each of the folders, where each catalog takes its own kind.
EXAMPLE = (checkout.ROOT / MINE).read_text(encoding="utf-8")
for kind in ("Architecture", "Optimizer", "Augmentation"):
    EXAMPLE = EXAMPLE.replace(f" = {kind}(\n", f" = {kind}(\n    default=True,\n")
FOLDERS = ("architectures", "bench/optimizers", "pipelines/augmentations", "pipelines")
NAMES = ("one_layer", "adagrad", "mirrored", "mirrors")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the three packages with one new file in each folder."""
    files = {f"{folder}/brand_new.py": EXAMPLE for folder in FOLDERS}
    files["architectures/broken_net.py"] = "import a_library_that_nobody_has\n"
    return checkout.make(tmp_path_factory.mktemp("copy"), files)


def test_new_files_are_listed_and_a_broken_one_hides_nothing(copy: Path) -> None:
    done = checkout.bench(copy, "list")
    assert done.returncode == 0, done.stderr
    for name in (*NAMES, "resnet18"):
        assert name in done.stdout
    assert "a_library_that_nobody_has" in done.stdout


def test_new_files_are_in_the_default_grid_and_in_its_table(copy: Path) -> None:
    ours = "one_layer and adagrad and mirrored"
    arguments = ["--source", "shapes", "--device", "cpu", "--epochs", "1", "-k", ours]
    arguments += ["--pipeline", "mirrors"]
    done = checkout.bench(copy, "run", "--grid", "default", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    table = checkout.bench(copy, "table", "results", "--format", "md")
    assert table.returncode == 0, table.stderr
    row = next(line for line in table.stdout.splitlines() if "one_layer" in line)
    for name in NAMES:
        assert name in row


def test_contributing_names_files_that_exist() -> None:
    text = (checkout.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([\w.]+/[\w./]*)`", text)
    assert len(paths) > 15
    for path in paths:
        assert (checkout.ROOT / path).exists(), path
