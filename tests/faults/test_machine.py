"""Machines without a GPU or compiler, with a broken driver, or a DALI for another CUDA."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import doctor, environment
from bench.machine.doctor import Smi
from bench.machine.environment import Probe
from tests import checkout
from tests.cli.conftest import Bench
from tests.made_device import device_is

NO_GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda_problem="Found no NVIDIA driver on your system"
)
GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda=True, gpu="NVIDIA H100", capability="9.0",
    memory_gib=79.2, bf16=True, compiler=True,
)  # fmt: skip
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
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Puts an nvidia-smi that is a shell script first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor, "SMI_TIMEOUT_S", 60.0)
    return partial(checkout.program, tmp_path / "bin" / "nvidia-smi")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("verb", ["run", "loaders"])
def test_cuda_without_a_gpu_is_refused_with_the_doctors_advice(
    refused: Callable[..., str],
    smi: Callable[[str], object],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    old = replace(NO_GPU, cuda_problem="The NVIDIA driver on your system is too old")
    device_is(monkeypatch, old)
    smi(SMI.replace("13.0", "12.4"))
    line = refused(verb, "--device", "cuda", "--source", "shapes")
    assert "580.95.05 supports CUDA up to 12.4, torch needs 13.0 -> update the driver" in line
    assert "pip install --force-reinstall torch torchvision --index-url" in line
    assert not Path("results").exists()


NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
SMI_FAULTS = {  # script, status, part of the message, part of the advice
    "hangs": ("sleep 600 & wait", "fail", "hangs: it did not answer within 0.5 s", "reboot"),
    "ignores signals": ("trap '' TERM INT; sleep 600; sleep 600", "fail", "hangs", "reboot"),
    "mismatch": (f"echo '{MISMATCH}'; exit 18", "fail", MISMATCH, "reboot"),
    "no driver": (f'echo "{NO_DRIVER}"; exit 9', "fail", "couldn't communicate", "modprobe nvidia"),
    "no device": ("echo 'No devices were found'; exit 6", "warn", "No devices", "docker run"),
    "garbage": (r"printf '\033[2J\377\376 rubbish, \n more'", "fail", "names no GPU", "type -a"),
    "much": ("head -c 100000 /dev/zero | tr '\\0' ','", "fail", "names no GPU", "type -a"),
    "nothing": ("exit 0", "fail", "names no GPU", "type -a"),
    "dies": ("kill -11 $$", "fail", "nvidia-smi fails", "type -a nvidia-smi"),
}


@pytest.mark.parametrize("case", SMI_FAULTS)
def test_an_nvidia_smi_that_fails_gets_its_reason_and_advice(
    smi: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    script, status, message, advice = SMI_FAULTS[case]
    smi(script)
    if "sleep" in script:
        monkeypatch.setattr(doctor, "SMI_TIMEOUT_S", 0.5)
    start = time.monotonic()
    check = doctor.check_gpu(NO_GPU, doctor.query_smi())
    assert time.monotonic() - start < 300
    assert check.status == status
    assert message in check.message
    assert check.message.isprintable()
    assert advice in check.advice


def test_garbage_of_nvidia_smi_does_not_name_the_machine(
    smi: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's name of the GPU is used instead."""
    monkeypatch.setattr(environment, "probe", lambda: GPU)
    for script in (r"printf '\033]0;x\007\377'", "yes | head -c 5000"):
        smi(script)
        assert environment.machine_name("cuda") == "nvidia-h100"


@pytest.mark.parametrize(
    ("wheels", "cuda", "advice"),
    [
        ("nvidia-dali-cuda130", "12.4",
         "pip uninstall --yes nvidia-dali-cuda130 && pip install nvidia-dali-cuda120"),
        ("nvidia-dali-cuda130", "13.0", "pip install --force-reinstall nvidia-dali-cuda130"),
        ("", "12.8", "pip install nvidia-dali-cuda120"),
        ("", "", "pip install nvidia-dali-cuda130"),
        ("nvidia-dali-cuda110", "14.2",
         "pip uninstall --yes nvidia-dali-cuda110 && pip install nvidia-dali-cuda130"),
        ("", "11.8", "there is no DALI for CUDA 11.8: update the driver"),
    ],
)  # fmt: skip
def test_a_dali_for_another_cuda_gets_the_command_that_installs_the_right_one(
    monkeypatch: pytest.MonkeyPatch, wheels: str, cuda: str, advice: str
) -> None:
    printed = f"it fails when it is first used (CUDA driver version is insufficient)\n{wheels}\n"
    done = SimpleNamespace(returncode=0, stdout=printed, stderr="")
    monkeypatch.setattr(doctor, "try_python", lambda code: done)
    check = doctor.check_dali(GPU, Smi(gpu="NVIDIA H100", driver="1", cuda=cuda))
    assert check.status == "warn"
    assert "CUDA driver version is insufficient" in check.message
    assert check.advice == advice


HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name in ("torch", "nvidia.dali") else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


def test_missing_torch_is_one_sentence_and_missing_dali_only_skips_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = checkout.python("from bench.cli.app import main; main()", "list")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "No module named 'torch'" in line
    assert "bench doctor" in line
    check = doctor.check_torch(environment.probe())
    assert (check.status, "pip install 'torch>=2.11'" in check.advice) == ("fail", True)
    check = doctor.check_dali(NO_GPU, Smi(missing=True))
    assert check.status == "ok"
    assert "its cells are skipped: dali is not installed" in check.message


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("no C++ compiler found (looked for g++)", "apt-get install g++ python3-dev"),
        ("the C++ compiler g++ does not work: no cc1plus", "apt-get install --reinstall g++"),
        ("the C++ compiler /my/g++ does not work: no cc1plus", "unset CXX, which names this"),
        ("the C++ compiler '/x' that CXX names does not exist", "unset CXX, which names this"),
        ("Python.h is not there", "apt-get install python3-dev"),
        ("Triton is not installed", "pip install triton"),
    ],
)
def test_a_compiler_problem_comes_with_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch, problem: str, advice: str
) -> None:
    monkeypatch.setenv("CXX", "/my/g++")
    check = doctor.check_compiler(Probe(compiler_problem=problem))
    assert check.status == "warn"
    assert problem in check.message
    assert check.advice.startswith(advice)
    assert check.advice.endswith("--no-compile)")


@pytest.mark.usefixtures("machine")
def test_a_notice_says_that_nets_run_uncompiled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_is(monkeypatch, replace(GPU, compiler=False, compiler_problem="Triton is missing"))
    words = ("run", "--grid", "smoke", "--dry-run")
    notice = "torch.compile cannot work here (Triton is missing): nets run uncompiled"
    assert notice in " ".join(bench(*words).stdout.split())
    assert "torch.compile" not in bench(*words, "--no-compile").stdout
