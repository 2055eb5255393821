"""A new architecture, optimizer, augmentation or pipeline is one new file and touches no other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import checkout

NEW_FILES = {
    "architectures/brand_new_net.py": """
from torch import nn
from architectures import Architecture, Spec

def build(spec: Spec) -> nn.Module:
    size = spec.channels * spec.image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(size, spec.classes))

brand_new_net = Architecture(
    name="brand_new_net",
    why="a test",
    reference="none",
    build=build,
    parameters=30730,
    default=True,
)
""",
    "bench/optimizers/brand_new_optimizer.py": """
import torch
from bench.optimizers import Optimizer
from bench.recipe import Recipe

brand_new_optimizer = Optimizer(
    name="brand_new_optimizer",
    why="a test",
    reference="none",
    build=lambda net, recipe: torch.optim.SGD(net.parameters(), lr=recipe.lr),
    recipe=Recipe(lr=0.01),
    default=True,
)
""",
    "pipelines/augmentations/brand_new_policy.py": """
from pipelines.augmentations import Augmentation
from pipelines.ops import HorizontalFlip

brand_new_policy = Augmentation(
    name="brand_new_policy", why="a test", ops=[HorizontalFlip(p=1.0)], default=True
)
""",
    "pipelines/brand_new_pipeline.py": """
from collections.abc import Iterator
from pipelines.base import Batch, Library, Pipeline, Request, normalise
from pipelines.ops import HorizontalFlip

class Flips(Pipeline):
    def __init__(self, request: Request) -> None:
        super().__init__(request, brand_new_pipeline.semantics(request.augmentation))

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        for index_B in self.permutation(index):
            images_BHWC = request.images.images[index_B].flip(2)
            x_BCHW = normalise(images_BHWC, request.images, request.dtype, request.memory_format)
            yield x_BCHW, request.images.labels[index_B]

brand_new_pipeline = Library(
    name="brand_new_pipeline",
    why="a test",
    build=Flips,
    ops={HorizontalFlip: "per sample"},
)
""",
    "architectures/broken_net.py": "import a_library_that_nobody_has\n",
}
NAMES = [Path(file).stem for file in NEW_FILES if "brand_new" in file]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the three packages with one new file in each folder."""
    return checkout.make(tmp_path_factory.mktemp("copy"), NEW_FILES)


def test_new_files_are_listed_and_a_broken_one_hides_nothing(copy: Path) -> None:
    done = checkout.bench(copy, "list")
    assert done.returncode == 0, done.stderr
    for name in (*NAMES, "resnet18"):
        assert name in done.stdout
    assert "a_library_that_nobody_has" in done.stdout


def test_new_files_are_in_the_default_grid_and_in_its_table(copy: Path) -> None:
    ours = "brand_new_net and brand_new_optimizer and brand_new_policy"
    arguments = ["--source", "shapes", "--device", "cpu", "--epochs", "1", "-k", ours]
    arguments += ["--pipeline", "brand_new_pipeline"]
    done = checkout.bench(copy, "run", "--grid", "default", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    table = checkout.bench(copy, "table", "results", "--format", "md")
    assert table.returncode == 0, table.stderr
    row = next(line for line in table.stdout.splitlines() if "brand_new_net" in line)
    for name in NAMES:
        assert name in row


def test_the_command_of_the_reasons_lists_new_files(copy: Path) -> None:
    command = [sys.executable, "-m", "bench.report.reasons"]
    page = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True).stdout
    for name in NAMES:
        assert f"`{name}`**: a test." in page or f"`{name}`: a test." in page


def test_contributing_names_files_that_exist() -> None:
    text = (checkout.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([\w.]+/[\w./]*)`", text)
    assert len(paths) > 15
    for path in paths:
        assert (checkout.ROOT / path).exists(), path
