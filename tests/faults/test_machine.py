"""Machines without a GPU, with a driver that lies, a DALI for another CUDA (faults 21 to 23)."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import process
from bench.cli import app
from bench.machine import doctor, environment
from bench.machine.doctor import Smi
from bench.machine.environment import Probe
from tests.checkout import ROOT
from tests.faults.machines import GPU, NO_GPU, pretend

GIVE_UP_S = 20.0
SMI = """
case "$*" in
  *name,driver_version*) echo "NVIDIA H100 80GB HBM3, 580.95.05" ;;
  *=name*) echo "NVIDIA H100 80GB HBM3" ;;
  *=driver_version*) echo "580.95.05" ;;
  *compute-apps*) ;;
  *) echo "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0 |" ;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an nvidia-smi that is a shell script first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor, "SMI_TIMEOUT_S", 0.5)

    def put(script: str) -> None:
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


# Fault 21: no GPU.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Probe], None]:
    return pretend(monkeypatch, tmp_path)


def plan(*words: str) -> Any:
    return CliRunner().invoke(app.app, ["run", "--grid", "smoke", "--dry-run", *words])


def test_without_a_gpu_auto_takes_the_cpu_and_says_so_aloud(
    machine: Callable[[Probe], None],
) -> None:
    """Fault 21: a framed notice, and every cell is of scale cpu."""
    machine(NO_GPU)
    done = plan()
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert f"NOTICE: No GPU ({NO_GPU.cuda_problem}): running on the CPU at scale 'cpu'" in said
    assert "_shapes_cpu" in said


@pytest.mark.parametrize("verb", ["run", "loaders"])
def test_without_a_gpu_cuda_is_refused_with_what_the_doctor_says(
    machine: Callable[[Probe], None],
    smi: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    """Fault 21: exit code 2, the doctor's lines, nothing written."""
    machine(replace(NO_GPU, cuda_problem="The NVIDIA driver on your system is too old"))
    smi(SMI.replace("13.0", "12.4"))
    done = CliRunner().invoke(app.app, [verb, "--device", "cuda", "--source", "shapes"])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert "580.95.05 supports CUDA up to 12.4, torch needs 13.0 -> update the driver" in line
    assert "pip install --force-reinstall torch torchvision --index-url" in line
    assert not Path("results").exists()


# Faults 22 and 23: drivers, and what nvidia-smi says of them.

SAID = {
    "hangs": ("sleep 60 & wait", "nvidia-smi hangs: it did not answer within 0.5 s", "reboot"),
    "hangs deaf": ("trap '' TERM INT; sleep 60; sleep 60", "nvidia-smi hangs", "reboot"),
    "mismatch": (
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
        "Driver/library version mismatch",
        "reboot",
    ),
    "module": (
        'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."'
        "; exit 9",
        "couldn't communicate",
        "modprobe nvidia",
    ),
    "rubbish": (
        r"printf '\033[2J\377\376 rubbish, \n more'",
        "which names no GPU",
        "type -a nvidia-smi",
    ),
    "much": ("head -c 100000 /dev/zero | tr '\\0' ','", "which names no GPU", "type -a nvidia-smi"),
    "nothing": ("exit 0", "which names no GPU", "type -a nvidia-smi"),
    "dies": ("kill -11 $$", "nvidia-smi fails", "type -a nvidia-smi"),
}


@pytest.mark.parametrize("case", SAID)
def test_nvidia_smi_that_says_nothing_of_use_is_told_and_mended(
    smi: Callable[[str], None], case: str
) -> None:
    """Fault 22: which fault it is, the line for it, and no waiting."""
    script, message, advice = SAID[case]
    smi(script)
    start = time.monotonic()
    found = doctor.query_smi()
    check = doctor.check_gpu(NO_GPU, found)
    assert time.monotonic() - start < GIVE_UP_S
    assert check.status == "fail"
    assert message in check.message
    assert check.message.isprintable()
    assert advice in check.advice


def test_a_driver_without_a_gpu_is_no_failure(smi: Callable[[str], None]) -> None:
    """Fault 22: runs use the CPU; a container is told how it gets the GPU."""
    smi("echo 'No devices were found'; exit 6")
    check = doctor.check_gpu(NO_GPU, doctor.query_smi())
    assert check.status == "warn"
    assert "docker run --gpus all" in check.advice


@pytest.mark.parametrize("script", [r"printf '\033]0;x\007\377'", "yes | head -c 5000", "sleep 60"])
def test_rubbish_becomes_no_name_of_a_machine(
    smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Fault 22: results are filed under torch's name of the GPU instead."""
    ask = process.run_briefly
    monkeypatch.setattr(
        environment, "run_briefly", lambda command, timeout_s: ask(command, timeout_s=0.5)
    )
    monkeypatch.setattr(environment, "probe", lambda: GPU)
    smi(script)
    assert environment.machine_name("cuda") == "nvidia-h100"


@pytest.mark.parametrize(
    ("able", "status"), [("12.9", "fail"), ("13.0", "ok"), ("13.7", "ok"), ("99.1", "ok")]
)
def test_a_driver_newer_than_torch_works_and_an_older_one_is_told(
    smi: Callable[[str], None], able: str, status: str
) -> None:
    """Faults 22 and 23: nothing is refused for being new."""
    smi(SMI.replace("13.0", able).replace("580.95.05", f"{able}.99"))
    found = doctor.query_smi()
    assert (found.driver, found.cuda) == (f"{able}.99", able)
    check = doctor.check_driver(GPU, found)
    assert check is not None
    assert check.status == status
    if status == "fail":
        assert "update the driver, or install torch for CUDA 12: pip install" in check.advice


HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name in {names!r} else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


@contextmanager
def hidden(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """Modules that no process started from here can import."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDE.format(names=names))
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


def test_dali_that_is_absent_costs_nothing_without_a_gpu_and_has_its_line_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: its cells are skipped, which the doctor says."""
    with hidden(tmp_path / "hide", monkeypatch, "nvidia.dali"):
        without = doctor.check_dali(NO_GPU, Smi(missing=True))
    assert without.status == "ok"
    assert "its cells are skipped: dali is not installed" in without.message


@pytest.mark.parametrize(
    ("wheels", "cuda", "advice"),
    [
        ("nvidia-dali-cuda130", "12.4",
         "pip uninstall --yes nvidia-dali-cuda130 && pip install nvidia-dali-cuda120"),
        ("nvidia-dali-cuda130", "13.0", "pip install --force-reinstall nvidia-dali-cuda130"),
        ("", "12.8", "pip install nvidia-dali-cuda120"),
        ("", "13.1", "pip install nvidia-dali-cuda130"),
        ("", "", "pip install nvidia-dali-cuda130"),
        ("nvidia-dali-cuda110", "14.2",
         "pip uninstall --yes nvidia-dali-cuda110 && pip install nvidia-dali-cuda130"),
        ("", "11.8", "there is no DALI for CUDA 11.8: update the driver"),
    ],
)  # fmt: skip
def test_dali_for_another_cuda_gets_the_line_that_brings_the_right_one(
    monkeypatch: pytest.MonkeyPatch, wheels: str, cuda: str, advice: str
) -> None:
    """Fault 22: the wheel follows the driver's CUDA."""
    said = f"it fails when it is first used (CUDA driver version is insufficient)\n{wheels}\n"
    done = SimpleNamespace(returncode=0, stdout=said, stderr="")
    monkeypatch.setattr(doctor, "try_python", lambda code: done)
    check = doctor.check_dali(GPU, Smi(gpu="NVIDIA H100", driver="1", cuda=cuda))
    assert check.status == "warn"
    assert "CUDA driver version is insufficient" in check.message
    assert check.advice == advice


def test_torch_that_is_missing_is_one_sentence_and_the_doctor_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: a set-up without its main library."""
    with hidden(tmp_path / "hide", monkeypatch, "torch"):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "list"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        probe = environment.probe()
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "No module named 'torch'" in line
    assert "bench doctor" in line
    check = doctor.check_torch(probe)
    assert (check.status, "pip install 'torch>=2.11'" in check.advice) == ("fail", True)
