"""torch.compile without what it needs, and no room for anything (faults 16, 18, 22 and 24)."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.machine import doctor
from bench.machine.environment import Probe
from pipelines import compiling
from tests.faults.machines import GPU, pretend


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Probe], None]:
    return pretend(monkeypatch, tmp_path)


def plan(*words: str) -> Any:
    return CliRunner().invoke(app.app, ["run", "--grid", "smoke", "--dry-run", *words])


def no_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def broken_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = folder / "g++"
    compiler.write_text(
        "#!/bin/sh\necho \"g++: fatal error: cannot execute 'cc1plus'\" >&2\nexit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def broken_by_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_compiler(folder, monkeypatch)
    monkeypatch.setenv("CXX", str(folder / "g++"))


def absent_by_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(folder / "g++"))


def no_headers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(folder))


@pytest.mark.parametrize(
    ("fault", "message", "advice"),
    [
        (no_compiler, "no C++ compiler found", "apt-get install g++ python3-dev"),
        (broken_compiler, "cannot execute 'cc1plus'", "apt-get install --reinstall g++"),
        (broken_by_choice, "cannot execute 'cc1plus'", "unset CXX, which names this compiler"),
        (absent_by_choice, "that CXX names is not there", "unset CXX, which names this compiler"),
        (no_headers, "Python.h", "apt-get install python3-dev"),
    ],
)
def test_what_torch_compile_lacks_is_told_with_its_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    message: str,
    advice: str,
) -> None:
    """Faults 22 and 24: no compiler, one that does not work, no Python.h."""
    if fault is no_headers and shutil.which("g++") is None:
        pytest.skip("no g++ here")
    fault(tmp_path, monkeypatch)
    check = doctor.check_compiler(Probe(compiler_problem=compiling.compiler_problem(gpu=False)))
    assert check.status == "warn"
    assert message in check.message
    assert check.advice.startswith(advice)
    assert check.advice.endswith("--no-compile)")


def test_the_reason_that_torch_gives_is_shown_and_not_its_last_hint() -> None:
    """Fault 24: torch ends its errors with a hint about a variable, which is no reason."""
    stderr = (
        'Traceback (most recent call last):\n  File "x", line 1\n'
        "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found\n\n"
        "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace\n"
    )
    done = SimpleNamespace(returncode=1, stderr=stderr, stdout="")
    said = doctor.error_line(done)  # type: ignore[arg-type]
    assert said.endswith("No working C++ compiler found")


def test_compile_that_cannot_work_on_a_gpu_falls_back_aloud_and_marks_the_cells(
    machine: Callable[[Probe], None],
) -> None:
    """Fault 24: eager cells are other cells, with other ids; --compile insists and is refused."""
    lacking = replace(GPU, compiler=False, compiler_problem="Triton is not installed")
    machine(lacking)
    done = plan()
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "torch.compile cannot work here (Triton is not installed): nets run uncompiled" in said
    refused = plan("--compile")
    assert refused.exit_code == 2
    assert "torch.compile cannot work here: Triton is not installed" in refused.stderr
    settings = [planning.choose_config(RunOptions(), probe, "cuda") for probe in (GPU, lacking)]
    with_it, without = (planning.choose_cells(RunOptions(grid="smoke"), s) for s in settings)
    assert {cell.compile for cell in with_it} == {True}
    assert {cell.compile for cell in without} == {False}
    assert "torch.compile" not in " ".join(plan("--no-compile").stdout.split())


# Faults 18 and 16: no data, no space, no temporary folder.


def test_no_space_for_results_or_data_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 16 and 18: how much there is, how much it takes, and what to do."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**28))
    disk, data = doctor.check_disk(tmp_path), doctor.check_data(tmp_path / "data")
    assert (disk.status, data.status) == ("warn", "warn")
    assert "0.2 GiB are free" in disk.message
    assert "0.2 GiB are free; it takes 0.6 GiB" in data.message
    assert "--out" in disk.advice
    assert data.advice.startswith("make room, or bench data cifar10")


def test_a_temporary_folder_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: torch.compile needs one."""
    missing = tmp_path / "missing"
    monkeypatch.setenv("TMPDIR", str(missing))
    monkeypatch.setattr(doctor.tempfile, "tempdir", None)
    check = doctor.check_temp()
    assert check.status == "warn"
    assert f"TMPDIR={missing} cannot be written" in check.message
    assert check.advice.startswith(f"mkdir -p {missing}")
    monkeypatch.setattr(doctor.tempfile, "tempdir", None)
    monkeypatch.setattr(doctor.tempfile, "_candidate_tempdir_list", lambda: [str(missing)])
    monkeypatch.chdir(tmp_path)
    assert doctor.check_temp().status == "fail"
