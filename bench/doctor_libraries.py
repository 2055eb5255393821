"""What the doctor says of libraries and of torch.compile, each tried in a process of its own."""

import os
import subprocess
import sys
import time
from functools import partial

from bench import environment
from bench.doctor_base import TRIAL_TIMEOUT_S, Check, Status, last_words, python
from bench.doctor_gpu import Smi, numbers
from bench.environment import Probe

LIBRARIES: dict[str, tuple[str, Status, str]] = {
    "torchvision": ("torchvision", "fail", "pip install torchvision"),
    "kornia": ("kornia.augmentation", "fail", "pip install 'kornia>=0.9'"),
    "timm": ("timm.optim", "fail", "pip install timm"),
    "tensorboard": ("torch.utils.tensorboard", "warn", "pip install 'tensorboard>=2.21'"),
}
COMPILE_TRIAL = """
import torch
device = "cuda" if torch.cuda.is_available() else "cpu"
x = torch.rand(64, device=device)
assert torch.allclose(torch.compile(lambda x: (x * 2 + 1).relu())(x), x * 2 + 1)
"""
DALI_TRIAL = """
from pipelines.dali_ops import trial
print(trial.lack() or trial.fault({device!r}))
print(*trial.wheels())
"""
DALI_WHEELS = {12: "nvidia-dali-cuda120", 13: "nvidia-dali-cuda130"}  # by the driver's CUDA
WITHOUT = "add --no-compile"


def library(name: str) -> Check:
    """Whether a library can be imported.

    Args:
        name: A key of `LIBRARIES`.
    """
    module, severity, advice = LIBRARIES[name]
    try:
        done = python(f"import {module}")
    except subprocess.TimeoutExpired:
        message = f"importing it takes more than {TRIAL_TIMEOUT_S:.0f} s"
        return Check(name=name, status="fail", message=message, advice=advice)
    if done.returncode == 0:
        version = environment.package_version(environment.PACKAGES.get(name, name))
        return Check(name=name, status="ok", message=version or "importable")
    message = f"cannot be imported: {last_words(done)}"
    return Check(name=name, status=severity, message=message, advice=advice)


def dali(probe: Probe, smi: Smi) -> Check:
    """Whether DALI works on the device that runs would use; without it its cells are skipped."""
    found = partial(Check, name="dali")
    if sys.platform != "linux":
        return found(status="ok", message="for Linux only, its cells are skipped")
    device = "cuda" if probe.cuda else "cpu"
    try:
        done = python(DALI_TRIAL.format(device=device))
    except subprocess.TimeoutExpired:
        message = f"trying it takes more than {TRIAL_TIMEOUT_S:.0f} s: its cells will time out"
        return found(status="warn", message=message, advice="pip uninstall nvidia-dali-cuda130")
    fault, wheels = [*done.stdout.splitlines(), "", ""][:2]
    if done.returncode:
        fault = last_words(done)
    if not fault:
        return found(status="ok", message=environment.dali_version() or "importable")
    message = f"its cells are skipped: {fault}"
    if "not installed" in fault and not probe.cuda:  # without a GPU its lack costs nothing
        return found(status="ok", message=message)
    return found(status="warn", message=message, advice=_dali_advice(wheels.split(), smi))


def _dali_advice(wheels: list[str], smi: Smi) -> str:
    """The line that brings the wheel for the driver's CUDA, and takes others away."""
    newest = max(DALI_WHEELS)
    able = min(newest, numbers(smi.cuda)[0]) if smi.cuda else newest
    fitting = DALI_WHEELS.get(able)
    if fitting is None:
        return f"no DALI is made for CUDA {smi.cuda}: update the driver"
    wrong = [name for name in wheels if name != fitting]
    if wrong:
        return f"pip uninstall --yes {' '.join(wrong)} && pip install {fitting}"
    return f"pip install {'--force-reinstall ' if wheels else ''}{fitting}"


def compiler(probe: Probe) -> Check:
    """Whether torch.compile works, by compiling a small function."""
    found = partial(Check, name="compile")
    if probe.compiler_problem:
        message = f"torch.compile cannot work: {probe.compiler_problem}"
        return found(status="warn", message=message, advice=_compiler_advice(message))
    start = time.monotonic()
    try:
        done = python(COMPILE_TRIAL)
    except subprocess.TimeoutExpired:
        message = f"torch.compile takes more than {TRIAL_TIMEOUT_S:.0f} s for a small function"
        return found(status="warn", message=message, advice=WITHOUT)
    if done.returncode:
        message = f"torch.compile fails: {last_words(done)}"
        return found(status="warn", message=message, advice=_compiler_advice(message))
    passed_s = time.monotonic() - start
    return found(status="ok", message=f"compiled a small function in {passed_s:.0f} s")


def _compiler_advice(problem: str) -> str:
    for name in ("CXX", "CC"):
        if f" that {name} names " in problem or (
            "does not work" in problem and f" {os.environ.get(name)} " in problem
        ):
            return f"unset {name}, which names this compiler (or {WITHOUT})"
    if "Triton" in problem:
        return f"pip install triton (or {WITHOUT})"
    if sys.platform == "darwin":
        return f"xcode-select --install (or {WITHOUT})"
    if "Python.h" in problem:
        return f"apt-get install python3-dev (or {WITHOUT})"
    compilers = "gcc libc6-dev" if " C compiler" in problem else "g++"
    again = "--reinstall " if "does not work" in problem else ""
    return f"apt-get install {again}{compilers} python3-dev (or {WITHOUT})"


__all__ = ["LIBRARIES", "compiler", "dali", "library"]
