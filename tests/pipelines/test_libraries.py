"""Libraries of pipelines: not imported by plans, and named where they are missing or broken."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

import pipelines
from pipelines import building, libraries
from pipelines.base import Library
from pipelines.catalog import Unavailable
from pipelines.dali_ops import trial
from pipelines.kornia import KORNIA
from pipelines.torchvision import TORCHVISION
from pipelines.torchvision_batch import TORCHVISION_BATCH
from tests import checkout

PLANNED = """
import sys
from pipelines import building
names = building.variants()
assert len(names) >= 8, names
libraries = "torchvision kornia nvidia.dali albumentations cv2 ffcv grain spdl turboloader"
print(*[name for name in libraries.split() if name in sys.modules])
"""
OPTIONAL = [entry for entry in building.catalog.entries.values() if entry.install]
ENTRIES = [TORCHVISION, TORCHVISION_BATCH, KORNIA, *OPTIONAL]


def test_planning_imports_no_library() -> None:
    done = checkout.python(PLANNED)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_missing_library_is_named(entry: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    mode = entry.modes[0] if entry.modes else ""
    needed = entry.name.removesuffix("_batch")
    wanted = entry.install or needed
    assert entry.problem(mode, "cpu") == f"{needed} is not installed: pip install {wanted}"


@pytest.mark.parametrize(
    ("name", "module", "fault", "reason"),
    [
        ("torchvision", "torchvision.transforms.v2", "raise RuntimeError('no operator')", "no op"),
        ("torchvision_batch", "torchvision.transforms.v2", "exit(3)", "it ends the program"),
        ("kornia", "kornia.augmentation", "import nobody_has_this", "No module named"),
    ],
)
def test_a_library_that_cannot_be_imported_makes_the_pipeline_unavailable(
    name: str, module: str, fault: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _, child = module.rpartition(".")
    (tmp_path / f"{child}.py").write_text(fault)
    package = import_module(parent)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    images = pipelines.load("shapes").test
    needed = name.removesuffix("_batch")
    with pytest.raises(Unavailable, match=f"^{needed} cannot be used here: .*{reason}"):
        pipelines.build(name, images, "flip_crop", batch_size=10)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libcudart.so.12: cannot open shared object file"), "cannot be imported"),
        (OSError("libnvimgcodec: wrong ELF class"), "cannot be imported"),
        (RuntimeError("no kernel image is available\nstack"), "fails when it is first used"),
    ],
)
@pytest.mark.parametrize("name", ["dali", "dali[dynamic]"])
def test_a_dali_that_does_not_work_has_its_reason_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, name: str
) -> None:
    def refuse(module: str) -> None:
        raise error

    monkeypatch.setattr(trial, "import_module", refuse)
    monkeypatch.setattr("pipelines.dali.fault", trial.fault.__wrapped__)
    with pytest.raises(Unavailable) as caught:
        pipelines.build(name, pipelines.load("shapes").test, "none", batch_size=4)
    assert reason in str(caught.value)
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
