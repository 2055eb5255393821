"""A new architecture, optimizer or augmentation is one new file and touches no other."""

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
    "architectures/broken_net.py": "import a_library_that_nobody_has\n",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the three packages with one new file in each folder."""
    return checkout.make(tmp_path_factory.mktemp("copy"), NEW_FILES)


def test_new_files_are_listed_and_a_broken_one_hides_nothing(copy: Path) -> None:
    done = checkout.bench(copy, "list")
    assert done.returncode == 0, done.stderr
    for name in ("brand_new_net", "brand_new_optimizer", "brand_new_policy", "resnet18"):
        assert name in done.stdout
    assert "a_library_that_nobody_has" in done.stdout


def test_new_files_are_in_the_default_grid_and_in_its_table(copy: Path) -> None:
    ours = "brand_new_net and brand_new_optimizer and brand_new_policy"
    arguments = ["--source", "shapes", "--device", "cpu", "--epochs", "1", "-k", ours]
    done = checkout.bench(copy, "run", "--grid", "default", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    table = checkout.bench(copy, "table", "results", "--format", "md")
    assert table.returncode == 0, table.stderr
    row = next(line for line in table.stdout.splitlines() if "brand_new_net" in line)
    assert "brand_new_optimizer" in row
    assert "brand_new_policy" in row
