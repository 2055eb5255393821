"""What works on this machine, and the line that mends what does not."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bench import environment
from bench.environment import Probe
from bench.files import StoreError, explained

Status = Literal["ok", "warn", "fail"]
DISK_NEEDED_GIB = 2.0
TRIAL_TIMEOUT_S = 300.0
LIBRARIES = {
    "torchvision": ("torchvision", "fail", "pip install torchvision"),
    "kornia": ("kornia.augmentation", "fail", "pip install 'kornia>=0.9'"),
    "timm": ("timm.optim", "fail", "pip install timm"),
    "torchmetrics": ("torchmetrics", "fail", "pip install torchmetrics"),
    "tensorboard": ("torch.utils.tensorboard", "warn", "pip install 'tensorboard>=2.21'"),
    "dali": ("nvidia.dali.fn", "warn", ""),
}
COMPILE_TRIAL = """
import torch
device = "cuda" if torch.cuda.is_available() else "cpu"
x = torch.rand(64, device=device)
assert torch.allclose(torch.compile(lambda x: (x * 2 + 1).relu())(x), x * 2 + 1)
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        status: "warn" costs something or may mislead; "fail" keeps runs from working.
        message: What was found.
        advice: The line that mends it; "" when there is nothing to mend.
    """

    name: str
    status: Status
    message: str
    advice: str = ""


def checks(data_dir: Path | None, results: Path) -> list[Check]:
    """Looks at everything a grid needs; works without a GPU and without torch.

    Args:
        data_dir: Where sources are cached; None for the usual place.
        results: The results folder; nothing is left in it.
    """
    cpu = threads()  # before the trials below load the machine
    probe = environment.probe()
    with ThreadPoolExecutor(max_workers=2) as pool:
        imports = pool.map(partial(library, driver=bool(probe.cuda)), LIBRARIES)
        compiled = pool.submit(compiler, probe)
        first = [python(), torch(probe), gpu(probe), driver(probe)]
        found = [*first, *imports, compiled.result()]
    found += [data(data_dir), disk(results), writable(results), neighbours(probe), cpu]
    return [check for check in found if check is not None]


def render(found: list[Check]) -> str:
    """The checks as text, a line each, with the advice below what needs it."""
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    lines = []
    for check in found:
        lines.append(f"{marks[check.status]}  {check.name:<12} {check.message}")
        if check.advice:
            lines.append(f"      {'':<12} -> {check.advice}")
    problems = sum(check.status == "fail" for check in found)
    warnings = sum(check.status == "warn" for check in found)
    lines.append(f"{len(found)} checks, {problems} failed, {warnings} warnings")
    return "\n".join(lines) + "\n"


def python() -> Check:
    """Which Python this is; too old a one cannot install the suite."""
    return Check(name="python", status="ok", message=platform.python_version())


def torch(probe: Probe) -> Check:
    """Whether torch can be imported, is new enough, and which CUDA it was built for."""
    advice = "pip install 'torch>=2.11'"
    if not probe.torch:
        return Check(name="torch", status="fail", message=probe.cuda_problem, advice=advice)
    if _numbers(probe.torch) < (2, 11):
        message = f"{probe.torch} is too old, 2.11 is needed"
        return Check(name="torch", status="fail", message=message, advice=advice)
    built = f"built for CUDA {probe.torch_cuda}" if probe.torch_cuda else "built without CUDA"
    return Check(name="torch", status="ok", message=f"{probe.torch}, {built}")


def gpu(probe: Probe) -> Check:
    """Whether a kernel runs on the GPU, and if not, which of the usual reasons it is."""
    if probe.cuda:
        message = (
            f"{probe.gpu}, {probe.memory_gib} GiB, capability {probe.capability}, "
            f"bf16 {'yes' if probe.bf16 else 'no'}"
        )
        return Check(name="gpu", status="ok", message=message)
    present = environment.nvidia_smi("name")
    if present is None:
        message = "no NVIDIA GPU or no driver: runs use the CPU at scale 'cpu'"
        advice = "install the NVIDIA driver if this machine has a GPU"
        return Check(name="gpu", status="warn", message=message, advice=advice)
    return Check(
        name="gpu",
        status="fail",
        message=f"{present} cannot be used: {probe.cuda_problem}",
        advice=_gpu_advice(probe),
    )


def _gpu_advice(probe: Probe) -> str:
    if not probe.torch_cuda:
        return "this torch is built for CPUs: pip install --force-reinstall torch torchvision"
    if "no kernel image" in probe.cuda_problem or "not compatible" in probe.cuda_problem:
        return "this torch has no code for this GPU: install a torch built for it, see pytorch.org"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it: unset CUDA_VISIBLE_DEVICES"
    return "see the driver's line below; nvidia-smi shows what the driver sees"


def driver(probe: Probe) -> Check | None:
    """Whether the driver is new enough for torch's CUDA; newer is always fine."""
    version = environment.nvidia_smi("driver_version")
    if version is None:
        return None
    said = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", environment.run_command(["nvidia-smi"]) or "")
    if said is None or not probe.torch_cuda:
        return Check(name="driver", status="ok", message=version)
    able = f"{said[1]}.{said[2]}"
    if _numbers(able)[0] >= _numbers(probe.torch_cuda)[0]:
        return Check(name="driver", status="ok", message=f"{version}, for CUDA up to {able}")
    return Check(
        name="driver",
        status="fail",
        message=f"{version} serves CUDA up to {able}, torch was built for {probe.torch_cuda}",
        advice=f"update the driver, or install a torch built for CUDA {said[1]}, see pytorch.org",
    )


def library(name: str, *, driver: bool) -> Check:
    """Whether a library can be imported, tried in a process of its own.

    Args:
        name: A key of `LIBRARIES`.
        driver: Whether there is a GPU that works; without one the lack of DALI costs nothing.
    """
    module, severity, advice = LIBRARIES[name]
    try:
        done = _python(f"import {module}")
    except subprocess.TimeoutExpired:
        message = f"importing it takes more than {TRIAL_TIMEOUT_S:.0f} s"
        return Check(name=name, status="fail", message=message, advice=advice)
    if done.returncode == 0:
        version = environment.package_version(environment.PACKAGES.get(name, name))
        return Check(name=name, status="ok", message=version or "importable")
    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    if name == "dali":
        return _dali(said, driver)
    status: Status = "fail" if severity == "fail" else "warn"
    return Check(name=name, status=status, message=f"cannot be imported: {said}", advice=advice)


def _dali(said: str, driver: bool) -> Check:
    if sys.platform != "linux":
        return Check(name="dali", status="ok", message="for Linux only, its cells are skipped")
    return Check(
        name="dali",
        status="warn" if driver else "ok",
        message=f"cannot be imported, its cells are skipped: {said}",
        advice="pip install nvidia-dali-cuda130" if driver else "",
    )


def compiler(probe: Probe) -> Check:
    """Whether torch.compile works, by compiling a small function."""
    name, advice = "compile", "apt-get install g++ python3-dev (or add --no-compile)"
    if probe.compiler_problem:
        message = f"torch.compile cannot work: {probe.compiler_problem}"
        return Check(name=name, status="warn", message=message, advice=advice)
    start = time.monotonic()
    try:
        done = _python(COMPILE_TRIAL)
    except subprocess.TimeoutExpired:
        message = f"torch.compile takes more than {TRIAL_TIMEOUT_S:.0f} s for a small function"
        return Check(name=name, status="warn", message=message, advice="add --no-compile")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        message = f"torch.compile fails: {said}"
        return Check(name=name, status="warn", message=message, advice=advice)
    passed_s = time.monotonic() - start
    return Check(name=name, status="ok", message=f"compiled a small function in {passed_s:.0f} s")


def data(data_dir: Path | None) -> Check:
    """Whether CIFAR-10 is on this machine."""
    try:
        from pipelines import sources

        folder = data_dir or sources.default_data_dir()
        present = sources.is_cached("cifar10", folder)
    except (ImportError, OSError) as error:
        return Check(name="data", status="fail", message=f"sources cannot be read: {error}")
    if present:
        return Check(name="data", status="ok", message=f"CIFAR-10 is in {folder}")
    return Check(
        name="data",
        status="warn",
        message=f"CIFAR-10 is not in {folder}; a run tries to fetch it",
        advice="bench data cifar10, or --data-dir with a folder that has it",
    )


def disk(results: Path) -> Check:
    """Whether the disk of the results has room."""
    free_gib = shutil.disk_usage(_existing(results)).free / 2**30
    if free_gib < DISK_NEEDED_GIB:
        message = f"{free_gib:.1f} GiB are free for {results}, {DISK_NEEDED_GIB:.0f} are advised"
        return Check(name="disk", status="warn", message=message, advice="make room, or use --out")
    return Check(name="disk", status="ok", message=f"{free_gib:.0f} GiB free")


def writable(results: Path) -> Check:
    """Whether results can be written; a folder that does not exist yet is not made."""
    folder = _existing(results)
    trial = folder / f".trial.{os.getpid()}.tmp"
    try:
        with explained(f"write to {folder}"):
            trial.write_bytes(b"")
            trial.unlink()
    except StoreError as error:
        advice = "name another folder with --out"
        return Check(name="results", status="fail", message=str(error), advice=advice)
    return Check(name="results", status="ok", message=f"{results} can be written")


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def neighbours(probe: Probe) -> Check | None:
    """Whether other processes hold the GPU; they would spoil every time."""
    if not probe.cuda:
        return None
    command = ["nvidia-smi", "--query-compute-apps=pid,process_name,used_memory",
               "--format=csv,noheader"]  # fmt: skip
    said = environment.run_command(command)
    if not said:
        return Check(name="gpu use", status="ok", message="no other process on the GPU")
    message = f"other processes on the GPU: {'; '.join(said.splitlines())}"
    advice = "wait for them or stop them: their work spoils the times"
    return Check(name="gpu use", status="warn", message=message, advice=advice)


def threads() -> Check:
    """Whether the CPU is free and its cores are used."""
    cores = environment.usable_cores()
    limited = os.environ.get("OMP_NUM_THREADS", "")
    if limited.isdecimal() and int(limited) < cores:
        message = f"OMP_NUM_THREADS={limited} leaves {cores - int(limited)} of {cores} cores idle"
        return Check(name="cpu", status="warn", message=message, advice="unset OMP_NUM_THREADS")
    load = os.getloadavg()[0]
    if load > cores + 1:
        message = f"{cores} cores under a load of {load:.1f}: times will be too long"
        return Check(name="cpu", status="warn", message=message, advice="stop other work first")
    return Check(name="cpu", status="ok", message=f"{cores} cores, load {load:.1f}")


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=TRIAL_TIMEOUT_S,
        check=False,
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:2])


__all__ = ["Check", "checks", "render"]
