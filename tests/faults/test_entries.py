"""Entries that cannot be used in a real grid, and a DALI that does not work."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import building
from pipelines.catalog import Unavailable
from pipelines.dali_ops import trial
from tests import checkout
from tests.pipelines.test_dali import noise

FAKE_DALI = """
class Pipeline:
    def __init__(self, **options): ...
    def __enter__(self): return self
    def __exit__(self, *error): ...
    def set_outputs(self, *outputs): ...
    def build(self):
        raise RuntimeError("CUDA driver version is insufficient\\nfor CUDA runtime version")
"""
EXTEND_PATH = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
OUT = f"-of 結果 \n[red]{'x' * 150}"


def bench(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line, environment = checkout.command(folder, *arguments)
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(folder / "fake")])
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages with an optimizer that cannot be imported and a DALI that fails when used."""
    folder = checkout.make(tmp_path / "copy", {})
    (folder / "architectures" / "broken.py").write_text("import sys; sys.exit(3)")
    (folder / "bench" / "optimizers" / "muon.py").write_text("import a_library_that_nobody_has\n")
    dali = folder / "fake" / "nvidia" / "dali"
    dali.mkdir(parents=True)
    (dali / "__init__.py").write_text(FAKE_DALI)
    (dali.parent / "__init__.py").write_text(EXTEND_PATH)
    (dali / "fn.py").write_text("def constant(**options): ...\n")
    return folder


def test_a_grid_skips_the_cells_of_broken_entries_and_runs_the_others(copy: Path) -> None:
    """Into a folder whose name has a dash, blanks, other scripts, a line break and markup."""
    select = "muon or dali or torchvision_batch"
    words = ["run", "--grid", "smoke", "-k", select, "--source", "shapes", "--device", "cpu"]
    done = bench(copy, *words, "--out", OUT)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    files = (copy / OUT).rglob("records/*.json")
    records: dict[str, Any] = {
        record["cell"]["pipeline"].partition("[")[0]: record
        for record in (json.loads(file.read_text()) for file in files)
    }
    assert records["torchvision_batch"]["status"] == "ok"
    reasons = {
        "torchvision": ("optimizer 'muon' cannot be used here", "a_library_that_nobody_has"),
        "dali": ("it fails when it is first used", "CUDA driver version is insufficient", "doctor"),
    }
    for name, parts in reasons.items():
        assert records[name]["status"] == "skipped"
        for part in parts:
            assert part in records[name]["error"]["message"]
    table = bench(copy, "table", "--format", "csv", "--", OUT)
    assert table.returncode == 0, table.stderr
    assert "torchvision_batch" in table.stdout
    assert not (copy / "results").exists()


@pytest.fixture
def _untried() -> Iterator[None]:
    trial.fault.cache_clear()
    yield
    trial.fault.cache_clear()


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libcudart.so.12: cannot open shared object file"), "cannot be imported"),
        (OSError("libnvimgcodec: wrong ELF class"), "cannot be imported"),
        (RuntimeError("no kernel image is available\nstack"), "fails when it is first used"),
    ],
)
@pytest.mark.parametrize("pipeline", ["dali", "dali[dynamic]"])
def test_a_dali_that_does_not_work_is_unavailable_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, pipeline: str
) -> None:
    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(trial, "import_module", refuse)
    with pytest.raises(Unavailable) as caught:
        building.build(pipeline, noise(), "none", batch_size=4)
    assert reason in str(caught.value)
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
