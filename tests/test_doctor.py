"""The doctor: each problem is told apart and comes with the line that mends it."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import doctor, environment
from bench.doctor import Check, checks, render
from bench.environment import Probe
from pipelines import sources

GOOD = Probe(
    torch="2.14.1+cu130",
    torch_cuda="13.0",
    cuda=True,
    gpu="NVIDIA H100",
    capability="9.0",
    memory_gib=79.2,
    bf16=True,
    compiler=True,
)
NO_GPU = Probe(torch="2.14.1", torch_cuda="13.0", cuda_problem="Found no NVIDIA driver")


def smi(monkeypatch: pytest.MonkeyPatch, cuda: str | None, apps: str = "") -> None:
    """Pretends a driver that serves CUDA up to `cuda`; None for no driver."""

    def answer(command: list[str], timeout_s: float = 10.0) -> str | None:
        if cuda is None or command[0] != "nvidia-smi":
            return None
        asked = " ".join(command)
        if "compute-apps" in asked:
            return apps or None
        if "=driver_version" in asked:
            return "550.54"
        return "NVIDIA H100" if "=name" in asked else f"| NVIDIA-SMI  CUDA Version: {cuda}  |"

    monkeypatch.setattr(environment, "run_command", answer)


def python_says(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> None:
    done = SimpleNamespace(returncode=code, stderr=stderr, stdout="")
    monkeypatch.setattr(doctor, "_python", lambda code: done)


def test_all_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(monkeypatch, "13.1")
    python_says(monkeypatch, 0)
    monkeypatch.setattr(environment, "probe", lambda: GOOD)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(doctor, "data", lambda _: Check(name="data", status="ok", message="there"))
    found = checks(None, tmp_path / "results")
    assert {check.status for check in found} == {"ok"}
    names = [check.name for check in found]
    for name in ("python", "torch", "gpu", "driver", "kornia", "dali", "compile", "data", "disk",
                 "results", "gpu use", "cpu"):  # fmt: skip
        assert name in names
    assert list(tmp_path.iterdir()) == []


def test_nothing_works_and_every_problem_has_its_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    smi(monkeypatch, None)
    python_says(monkeypatch, 1, "Traceback\nModuleNotFoundError: No module named 'x'")
    broken = Probe(cuda_problem="torch cannot be imported: no torch", compiler_problem="no g++")
    monkeypatch.setattr(environment, "probe", lambda: broken)
    monkeypatch.setattr(sources, "is_cached", lambda *_: False, raising=False)
    file = tmp_path / "file"
    file.touch()
    found = {check.name: check for check in checks(tmp_path, file)}
    for name in ("torch", "kornia", "timm", "results"):
        assert found[name].status == "fail"
    assert "No module named" in found["kornia"].message
    for check in found.values():
        assert check.status == "ok" or check.advice


@pytest.mark.parametrize(
    ("built", "able", "status"),
    [
        ("13.0", "12.4", "fail"),
        ("13.0", "13.0", "ok"),
        ("13.1", "13.0", "ok"),
        ("12.6", "13.2", "ok"),
        ("9.0", "12.0", "ok"),
    ],
)
def test_only_a_driver_of_an_older_major_is_too_old(
    monkeypatch: pytest.MonkeyPatch, built: str, able: str, status: str
) -> None:
    smi(monkeypatch, able)
    check = doctor.driver(Probe(torch="2.14", torch_cuda=built))
    assert check is not None
    assert check.status == status
    if status == "fail":
        assert built in check.message
        assert "12" in check.advice


@pytest.mark.parametrize(
    ("probe", "visible", "advice"),
    [
        (Probe(torch="2", cuda_problem="not compiled with CUDA"), "0", "built for CPUs"),
        (
            Probe(torch="2", torch_cuda="13.0", cuda_problem="CUDA error: no kernel image is av"),
            "0",
            "no code for this GPU",
        ),
        (Probe(torch="2", torch_cuda="13.0", cuda_problem="No CUDA GPUs"), "", "unset CUDA_VIS"),
        (Probe(torch="2", torch_cuda="13.0", cuda_problem="driver is too old"), "0", "driver"),
    ],
)
def test_a_gpu_that_cannot_be_used_fails_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, probe: Probe, visible: str, advice: str
) -> None:
    smi(monkeypatch, "12.4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = doctor.gpu(probe)
    assert check.status == "fail"
    assert probe.cuda_problem in check.message
    assert advice in check.advice


def test_no_gpu_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, None)
    assert doctor.gpu(NO_GPU).status == "warn"
    assert doctor.driver(NO_GPU) is None
    assert doctor.neighbours(NO_GPU) is None


def test_a_torch_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.torch(Probe(torch="2.10.0+cpu")).status == "fail"
    assert doctor.torch(Probe(torch="2.11.0")).status == "ok"
    assert doctor.torch(Probe(torch="3.0")).status == "ok"


def test_neighbours_on_the_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, "13.0", apps="4711, python, 5000 MiB")
    check = doctor.neighbours(GOOD)
    assert check is not None
    assert check.status == "warn"
    assert "4711" in check.message


def test_the_lack_of_dali_counts_only_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    python_says(monkeypatch, 1, "ImportError: libcudart.so.12: no such file")
    with_gpu = doctor.library("dali", driver=True)
    assert (with_gpu.status, with_gpu.advice) == ("warn", "pip install nvidia-dali-cuda130")
    assert "libcudart" in with_gpu.message
    assert doctor.library("dali", driver=False).status == "ok"


def test_a_library_that_breaks_is_told_from_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    python_says(monkeypatch, -11)
    assert "exit status -11" in doctor.library("kornia", driver=False).message

    def hang(code: str) -> None:
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(doctor, "_python", hang)
    assert "takes more than" in doctor.library("kornia", driver=False).message
    assert "takes more than" in doctor.compiler(GOOD).message


def test_a_real_library_is_really_imported() -> None:
    assert doctor.library("torchmetrics", driver=False).status == "ok"


def test_a_compiler_that_fails_gives_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    python_says(monkeypatch, 1, "...\nInductorError: g++: command not found")
    check = doctor.compiler(GOOD)
    assert (check.status, "g++: command not found" in check.message) == ("warn", True)
    lacking = doctor.compiler(Probe(compiler_problem="no C++ compiler found"))
    assert "no C++ compiler found" in lacking.message


@pytest.mark.parametrize(("cached", "status"), [(True, "ok"), (False, "warn")])
def test_missing_images_are_told_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached: bool, status: str
) -> None:
    monkeypatch.setattr(sources, "is_cached", lambda *_: cached, raising=False)
    check = doctor.data(tmp_path)
    assert check.status == status
    assert str(tmp_path) in check.message
    assert ("bench data cifar10" in check.advice) is not cached


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = SimpleNamespace(free=2**29)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    check = doctor.disk(tmp_path / "not" / "there")
    assert (check.status, "0.5 GiB" in check.message) == ("warn", True)


def test_few_threads_and_a_busy_machine_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.threads().advice == "unset OMP_NUM_THREADS"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert doctor.threads().status == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (12.0, 0.5, 0.5))
    assert "load of 12.0" in doctor.threads().message


def test_the_text_has_a_line_for_each_check_and_its_advice() -> None:
    text = render(
        [
            Check(name="torch", status="ok", message="fine"),
            Check(name="gpu", status="fail", message="dead", advice="pip install life"),
            Check(name="cpu", status="warn", message="busy", advice="wait"),
        ]
    )
    assert text.splitlines()[0] == "ok    torch        fine"
    assert "FAIL  gpu          dead" in text
    assert "-> pip install life" in text
    assert text.endswith("3 checks, 1 failed, 1 warnings\n")
