"""Libraries of pipelines: not imported by plans, and named where they are missing or broken."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pipelines
from bench.machine import environment
from pipelines import libraries
from pipelines.base import Library
from pipelines.catalog import Unavailable
from pipelines.kornia import KORNIA
from pipelines.torchvision import TORCHVISION
from pipelines.torchvision_batch import TORCHVISION_BATCH

PLANNED = """
import sys
from pipelines import building
names = building.variants()
assert len(names) >= 8, names
print(*[name for name in ("torchvision", "kornia", "nvidia.dali") if name in sys.modules])
"""
ENTRIES = [TORCHVISION, TORCHVISION_BATCH, KORNIA]


def test_who_plans_imports_no_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLANNED],
        env=environment.python_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_library_that_is_not_installed_is_told(
    entry: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    mode = entry.modes[0] if entry.modes else ""
    needed = entry.name.removesuffix("_batch")
    assert entry.problem(mode, "cpu") == f"{needed} is not installed: pip install {needed}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_library_that_is_there_is_no_problem(entry: Library) -> None:
    assert entry.problem(entry.modes[0] if entry.modes else "", "cpu") == ""


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("torchvision", "torchvision.transforms.v2"),
        ("torchvision_batch", "torchvision.transforms.v2"),
        ("kornia", "kornia.augmentation"),
    ],
)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "RuntimeError: operator",
        ),
        ("import sys; sys.exit(3)", "it ends the program when it is imported"),
        ("import a_library_that_nobody_has", "No module named"),
    ],
)
def test_a_library_that_cannot_be_imported_makes_the_pipeline_unavailable(
    name: str, module: str, fault: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _, child = module.rpartition(".")
    (tmp_path / f"{child}.py").write_text(fault)
    package = import_module(parent)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    images = pipelines.load("shapes").test
    needed = name.removesuffix("_batch")
    with pytest.raises(Unavailable, match=f"^{needed} cannot be used here: .*{said}"):
        pipelines.build(name, images, "flip_crop", batch_size=10)
