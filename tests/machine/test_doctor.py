"""The doctor: each problem is identified and comes with the command that fixes it."""

import os
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import doctor, environment
from bench.machine.doctor import Check, Smi, render, run_checks
from bench.machine.environment import Probe
from bench.process import Output
from pipelines import sources

GOOD = Probe(
    torch="2.14.1+cu130", torch_cuda="13.0", cuda=True, gpu="NVIDIA H100", capability="9.0",
    memory_gib=79.2, bf16=True, compiler=True,
)  # fmt: skip
NO_GPU = Probe(torch="2.14.1", torch_cuda="13.0", cuda_problem="Found no NVIDIA driver")
SMI = Smi(gpu="NVIDIA H100", driver="580.1", cuda="13.1")
MISSING = Smi(problem="nvidia-smi is not installed", missing=True)


def python_says(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> None:
    done = SimpleNamespace(returncode=code, stderr=stderr, stdout="")
    monkeypatch.setattr(doctor, "try_python", lambda code: done)


def test_a_healthy_machine_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = Check(name="data", status="ok", message="there")
    monkeypatch.setattr(doctor, "query_smi", lambda: SMI)
    monkeypatch.setattr(doctor, "run_briefly", lambda command, timeout_s: Output())
    python_says(monkeypatch, 0)
    monkeypatch.setattr(environment, "probe", lambda: GOOD)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(doctor, "check_data", lambda _: there)
    checks = run_checks(None, tmp_path / "results")
    assert {check.status for check in checks} == {"ok"}
    names = {"python", "torch", "gpu", "driver", "kornia", "dali", "compile", "data",
             "results", "gpu use", "cpu"}  # fmt: skip
    assert names <= {check.name for check in checks}
    assert list(tmp_path.iterdir()) == []


def test_every_problem_has_its_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "query_smi", lambda: MISSING)
    python_says(monkeypatch, 1, "Traceback\nModuleNotFoundError: No module named 'x'")
    broken = Probe(cuda_problem="torch cannot be imported: no torch", compiler_problem="no g++")
    monkeypatch.setattr(environment, "probe", lambda: broken)
    monkeypatch.setattr(sources, "is_cached", lambda *_: False, raising=False)
    file = tmp_path / "file"
    file.touch()
    checks = {check.name: check for check in run_checks(tmp_path, file)}
    for name in ("torch", "kornia", "timm", "results"):
        assert checks[name].status == "fail"
    assert "No module named" in checks["kornia"].message
    for check in checks.values():
        assert check.status == "ok" or check.advice


@pytest.mark.parametrize(
    ("built", "able", "status"),
    [("13.0", "12.4", "fail"), ("13.1", "13.0", "ok"), ("9.0", "12.0", "ok")],
)
def test_only_a_driver_of_an_older_major_is_too_old(built: str, able: str, status: str) -> None:
    smi = Smi(gpu="NVIDIA H100", driver="550.54", cuda=able)
    check = doctor.check_driver(Probe(torch="2.14", torch_cuda=built), smi)
    assert check.status == status


CUDA_TORCH = partial(Probe, torch="2", torch_cuda="13.0")


@pytest.mark.parametrize(
    ("probe", "visible", "advice"),
    [
        (Probe(torch="2", cuda_problem="not compiled with CUDA"), "0", "built for CPUs: pip inst"),
        (CUDA_TORCH(cuda_problem="CUDA error: no kernel image is available for execution on the "
                    "device", capability="6.1", built_for="7.5 8.0"),
         "0", "has capability 6.1, this torch has code for 7.5 8.0: pip install --upgrade torch"),
        (CUDA_TORCH(cuda_problem="No CUDA GPUs"), "", "unset CUDA_VIS"),
        (CUDA_TORCH(cuda_problem="The NVIDIA driver is too old"), "0", "update the driver"),
        (CUDA_TORCH(cuda_problem="CUDA error: out of memory"), "0", "another process holds it"),
        (CUDA_TORCH(cuda_problem="system not yet initialized"), "0", "nvidia-fabricmanager"),
        (CUDA_TORCH(cuda_problem="unknown error"), "0", "dmesg"),
    ],
)  # fmt: skip
def test_a_gpu_that_cannot_be_used_fails_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, probe: Probe, visible: str, advice: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    check = doctor.check_gpu(probe, Smi(gpu="NVIDIA H100", driver="550.54", cuda="12.4"))
    assert check.status == "fail"
    assert probe.cuda_problem in check.message
    assert advice in check.advice


def test_a_missing_gpu_is_no_failure_but_an_old_torch_is() -> None:
    assert doctor.check_gpu(NO_GPU, MISSING).status == "warn"
    assert doctor.check_driver(NO_GPU, MISSING) is None
    assert doctor.check_gpu_use(NO_GPU, MISSING) is None
    assert doctor.check_torch(Probe(torch="2.10.0+cpu")).status == "fail"
    assert doctor.check_torch(Probe(torch="2.11.0")).status == "ok"
    assert doctor.check_torch(Probe(torch="3.0")).status == "ok"


def test_other_processes_on_the_gpu_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    apps = Output(text="4711, python, 5000 MiB")
    monkeypatch.setattr(doctor, "run_briefly", lambda command, timeout_s: apps)
    check = doctor.check_gpu_use(GOOD, SMI)
    assert check.status == "warn"
    assert "4711" in check.message


def test_broken_and_hanging_libraries_and_compilers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    python_says(monkeypatch, -11)
    assert "exit status -11" in doctor.check_library("kornia").message

    def hang(code: str) -> None:
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(doctor, "try_python", hang)
    assert "takes more than" in doctor.check_library("kornia").message
    assert "takes more than" in doctor.check_compiler(GOOD).message
    assert "takes more than" in doctor.check_dali(GOOD, SMI).message
    python_says(monkeypatch, 1, "...\nInductorError: g++: command not found")
    check = doctor.check_compiler(GOOD)
    assert (check.status, "g++: command not found" in check.message) == ("warn", True)


def test_what_fails_beside_others_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"kornia": "colorsys", "timm": "nowhere", "tensorboard": "ftplib"}
    libraries = {name: (module, "fail", "fix it") for name, module in modules.items()}
    monkeypatch.setattr(doctor, "LIBRARIES", libraries)
    monkeypatch.setattr(doctor, "PROBE_TRIAL", """print('{"torch": "9"}'); print("[noise")""")
    for ending in ("1 / 0", "import os; os._exit(3)"):
        monkeypatch.setattr(doctor, "COMPILE_TRIAL", ending)
        probe, worked = doctor.try_together()
        assert (probe, [*worked]) == (Probe(torch="9"), ["probe", "kornia", "tensorboard"])
    python_says(monkeypatch, 1, "ImportError: it fails alone")
    found = {name: doctor.check_library(name, worked) for name in libraries}
    assert [check.status for check in found.values()] == ["ok", "fail", "ok"]
    assert "it fails alone" in found["timm"].message
    assert "it fails alone" in doctor.check_compiler(GOOD, worked).message


@pytest.mark.slow
def test_one_process_probes_the_device_and_imports_what_is_installed() -> None:
    probe, worked = doctor.try_together()
    assert probe == environment.probe()
    assert {"torchvision", "kornia", "timm"} <= worked.keys()


@pytest.mark.parametrize(("cached", "status"), [(True, "ok"), (False, "warn")])
def test_missing_images_come_with_the_download_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached: bool, status: str
) -> None:
    monkeypatch.setattr(sources, "is_cached", lambda *_: cached, raising=False)
    check = doctor.check_data(tmp_path)
    assert check.status == status
    assert str(tmp_path) in check.message
    assert ("bench data cifar10" in check.advice) is not cached


@pytest.mark.parametrize(("free", "status"), [(None, None), (2**26, "warn"), (2**34, "ok")])
def test_little_shared_memory_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, free: int | None, status: str | None
) -> None:
    monkeypatch.setattr(doctor.shared_memory, "free_bytes", lambda: free)
    check = doctor.check_shared_memory()
    assert (check and check.status) == status
    assert not check or ("docker run --shm-size=" in check.advice) == (status == "warn")


def test_a_busy_machine_and_full_disk_warn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.check_cpu().advice == "unset OMP_NUM_THREADS"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert doctor.check_cpu().status == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (12.0, 0.5, 0.5))
    assert "load of 12.0" in doctor.check_cpu().message
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**29))
    check = doctor.check_results(tmp_path / "not" / "there")
    assert (check.status, "0.5 GiB" in check.message) == ("warn", True)


def test_the_text_lists_checks_and_advice() -> None:
    gpu = Check(name="gpu", status="fail", message="dead", advice="pip install life")
    cpu = Check(name="cpu", status="warn", message="busy", advice="wait")
    text = render([Check(name="torch", status="ok", message="fine"), gpu, cpu])
    assert text.splitlines()[0] == "ok    torch        fine"
    assert "FAIL  gpu          dead" in text
    assert "-> pip install life" in text
    assert text.endswith("3 checks, 1 failed, 1 warning\n")
