"""What works on this machine, and the line that mends what does not.

One thing that the doctor looked at, and how the whole is shown.

What the doctor says of torch, the GPU and its driver.

What the doctor says of libraries and of torch.compile, each tried in a process of its own.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bench.machine import environment
from bench.machine.environment import Probe, python_environment
from bench.process import run_briefly, usable_cores
from bench.store.files import StoreError, explained

Status = Literal["ok", "warn", "fail"]
TRIAL_TIMEOUT_S = 300.0


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


def render(found: Sequence[Check]) -> str:
    """The checks as text: a line each, the advice below what needs it, and their number."""
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


def try_python(code: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python code in a process of its own, which finds the packages that this one has.

    Raises:
        subprocess.TimeoutExpired: It takes longer than `TRIAL_TIMEOUT_S`.
    """
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=TRIAL_TIMEOUT_S,
        check=False,
    )


def last_words(done: "subprocess.CompletedProcess[str]") -> str:
    """The error that ended a process: the last line that names one, else the last line."""
    told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if not told:
        return f"exit status {done.returncode}"
    errors = [line for line in told if line.split(":")[0].endswith(("Error", "Exception"))]
    return (errors or told)[-1]


TORCH_NEEDED = (2, 11)
AGAIN = "pip install --force-reinstall torch torchvision"
WHEELS = {12: "cu126"}  # a torch for drivers of an older CUDA, which this version of it still has
HIDDEN = ("", "-1")
NO_GPU = "No devices were found"
PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Smi:
    """What nvidia-smi says of the first visible GPU.

    Args:
        gpu: Its name; "" if it says none.
        driver: Version of the driver.
        cuda: CUDA version up to which the driver serves; "" if it does not say so.
        problem: Why it says nothing; "" if it does.
        missing: Whether there is no nvidia-smi.
    """

    gpu: str = ""
    driver: str = ""
    cuda: str = ""
    problem: str = ""
    missing: bool = False


def look() -> Smi:
    """Asks nvidia-smi; once, where it hangs."""
    said = run_briefly(environment.nvidia_smi_command("name,driver_version"), timeout_s=PATIENCE_S)
    if said.problem:
        return Smi(problem=said.problem, missing=said.missing)
    name, comma, driver = said.text.rpartition(", ")
    if not comma or not said.text.isprintable() or len(said.text) > environment.LONGEST_FIELD:
        return Smi(problem=f"nvidia-smi prints {said.text[:60]!r}, which names no GPU")
    cuda = re.search(
        r"CUDA Version:\s*(\d+\.\d+)", run_briefly(["nvidia-smi"], timeout_s=PATIENCE_S).text
    )
    return Smi(gpu=name, driver=driver, cuda=cuda[1] if cuda else "")


def torch(probe: Probe) -> Check:
    """Whether torch can be imported, is new enough, and which CUDA it was built for."""
    advice = f"pip install 'torch>={'.'.join(map(str, TORCH_NEEDED))}'"
    if not probe.torch:
        return Check(name="torch", status="fail", message=probe.cuda_problem, advice=advice)
    if numbers(probe.torch) < TORCH_NEEDED:
        message = f"{probe.torch} is too old, 2.11 is needed"
        return Check(name="torch", status="fail", message=message, advice=advice)
    built = f"built for CUDA {probe.torch_cuda}" if probe.torch_cuda else "built without CUDA"
    return Check(name="torch", status="ok", message=f"{probe.torch}, {built}")


def gpu(probe: Probe, smi: Smi) -> Check:
    """Whether a kernel runs on the GPU, and if not, which of the usual reasons it is."""
    if probe.cuda:
        message = (
            f"{probe.gpu}, {probe.memory_gib} GiB, capability {probe.capability}, "
            f"bf16 {'yes' if probe.bf16 else 'no'}"
        )
        return Check(name="gpu", status="ok", message=message)
    seen = smi.gpu or probe.gpu
    if seen:
        message = f"{seen} cannot be used: {probe.cuda_problem}"
        return Check(name="gpu", status="fail", message=message, advice=_gpu_advice(probe, smi))
    if smi.missing:
        message = "no NVIDIA GPU or no driver: runs use the CPU at scale 'cpu'"
        advice = "install the NVIDIA driver if this machine has a GPU"
        return Check(name="gpu", status="warn", message=message, advice=advice)
    nothing = NO_GPU in smi.problem  # runs use the CPU, and nothing is broken
    return Check(
        name="gpu",
        status="warn" if nothing else "fail",
        message=smi.problem,
        advice=_smi_advice(smi),
    )


def _gpu_advice(probe: Probe, smi: Smi) -> str:
    problem = probe.cuda_problem.lower()
    if not probe.torch_cuda:
        return f"this torch is built for CPUs: {AGAIN}"
    if "no kernel image" in problem or "not compatible" in problem:
        return _kernel_advice(probe)
    if os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        return "CUDA_VISIBLE_DEVICES hides it: unset CUDA_VISIBLE_DEVICES"
    if "too old" in problem or "insufficient" in problem:
        return _driver_advice(smi.cuda)
    if "out of memory" in problem or "busy or unavailable" in problem:
        return "another process holds it: nvidia-smi shows which; stop it, or wait"
    if "not yet initialized" in problem:
        return "the NVSwitches are not up: systemctl start nvidia-fabricmanager"
    return "see what the driver wrote: dmesg | grep -i nvrm; rebooting often mends it"


def _kernel_advice(probe: Probe) -> str:
    """For a GPU that this torch has no code for."""
    built = [numbers(version) for version in probe.built_for.split()]
    if probe.capability and built and numbers(probe.capability) > max(built):
        return (
            f"capability {probe.capability} is newer than this torch, which has code for "
            f"{probe.built_for}: pip install --upgrade torch torchvision"
        )
    older = next(iter(WHEELS.values()))
    return f"this torch has no code for a GPU this old: {_from_index(older)}"


def _smi_advice(smi: Smi) -> str:
    if NO_GPU in smi.problem and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return "CUDA_VISIBLE_DEVICES names a GPU that is not there: unset CUDA_VISIBLE_DEVICES"
    if NO_GPU in smi.problem:
        return "the driver sees no GPU; a container must be given it: docker run --gpus all"
    if "hangs" in smi.problem:
        return "the driver does not answer: reboot"
    if "mismatch" in smi.problem:
        return "the driver was updated under a module that is still loaded: reboot"
    if "communicate" in smi.problem:
        return "the driver's module is not loaded: modprobe nvidia; if that fails, install it anew"
    return "see which nvidia-smi this is, and install the driver's: type -a nvidia-smi"


def driver(probe: Probe, smi: Smi) -> Check | None:
    """Whether the driver is new enough for torch's CUDA; newer is always fine."""
    if not smi.driver:
        if not probe.cuda or not smi.problem:
            return None
        message = f"{smi.problem}; what else runs on the GPU cannot be seen"
        advice = "install the driver's nvidia-smi" if smi.missing else _smi_advice(smi)
        return Check(name="driver", status="warn", message=message, advice=advice)
    if not smi.cuda or not probe.torch_cuda:
        return Check(name="driver", status="ok", message=smi.driver)
    if numbers(smi.cuda)[0] >= numbers(probe.torch_cuda)[0]:
        return Check(name="driver", status="ok", message=f"{smi.driver}, for CUDA up to {smi.cuda}")
    message = f"{smi.driver} serves CUDA up to {smi.cuda}, torch was built for {probe.torch_cuda}"
    return Check(name="driver", status="fail", message=message, advice=_driver_advice(smi.cuda))


def _driver_advice(able: str) -> str:
    wheel = WHEELS.get(numbers(able)[0]) if able else None
    if wheel is None:
        return "update the driver: see nvidia.com/drivers"
    return f"update the driver, or take a torch for CUDA {numbers(able)[0]}: {_from_index(wheel)}"


def _from_index(wheel: str) -> str:
    return f"{AGAIN} --index-url https://download.pytorch.org/whl/{wheel}"


def neighbours(probe: Probe, smi: Smi) -> Check | None:
    """Whether other processes hold the GPU; they would spoil every time."""
    if not probe.cuda or smi.problem:
        return None
    fields = "--query-compute-apps=pid,process_name,used_memory"
    said = run_briefly(["nvidia-smi", fields, "--format=csv,noheader"], timeout_s=PATIENCE_S)
    if said.problem:
        advice = _smi_advice(Smi(problem=said.problem))
        return Check(name="gpu use", status="warn", message=said.problem, advice=advice)
    if not said.text:
        return Check(name="gpu use", status="ok", message="no other process on the GPU")
    message = f"other processes on the GPU: {'; '.join(said.text.splitlines())}"
    advice = "wait for them or stop them: their work spoils the times"
    return Check(name="gpu use", status="warn", message=message, advice=advice)


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:2])


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
        done = try_python(f"import {module}")
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
        done = try_python(DALI_TRIAL.format(device=device))
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
        done = try_python(COMPILE_TRIAL)
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


DISK_NEEDED_GIB = 2.0
DATA_NEEDED_GIB = 0.6  # CIFAR-10's archive, what it unpacks to, and the cache


def checks(data_dir: Path | None, results: Path) -> list[Check]:
    """Looks at everything a grid needs; works without a GPU and without torch.

    Args:
        data_dir: Where sources are cached; None for the usual place.
        results: The results folder; nothing is left in it.
    """
    cpu = threads()  # before the trials below load the machine
    smi = look()
    probe = environment.probe()
    with ThreadPoolExecutor(max_workers=2) as pool:
        imports = pool.map(library, LIBRARIES)
        tried = pool.submit(dali, probe, smi)
        compiled = pool.submit(compiler, probe)
        first = [python(), torch(probe), gpu(probe, smi), driver(probe, smi)]
        found = [*first, *imports, tried.result(), compiled.result()]
    found += [data(data_dir), disk(results), writable(results), temporary()]
    found += [neighbours(probe, smi), cpu]
    return [check for check in found if check is not None]


def gpu_told(probe: Probe) -> str:
    """What is wrong with torch, the GPU and its driver, and what mends it, in one line."""
    smi = look()
    found = (torch(probe), gpu(probe, smi), driver(probe, smi))
    return "; ".join(
        f"{check.message} -> {check.advice}" for check in found if check and check.status != "ok"
    )


def python() -> Check:
    """Which Python this is; too old a one cannot install the suite."""
    return Check(name="python", status="ok", message=platform.python_version())


def data(data_dir: Path | None) -> Check:
    """Whether CIFAR-10 is on this machine, and if not, whether there is a place for it."""
    try:
        from pipelines import sources

        folder = data_dir or sources.default_data_dir()
        present = sources.is_cached("cifar10", folder)
    except (ImportError, OSError, RuntimeError) as error:
        message = f"sources cannot be read: {error}"
        advice = "name a folder that can be written with --data-dir"
        return Check(name="data", status="fail", message=message, advice=advice)
    if present:
        return Check(name="data", status="ok", message=f"CIFAR-10 is in {folder}")
    message, advice = f"CIFAR-10 is not in {folder}; a run tries to fetch it", ""
    place = _existing(folder)
    free_gib = shutil.disk_usage(place).free / 2**30
    if not _writable(place):
        message, advice = f"CIFAR-10 is not in {folder}, which cannot be written", "permit it, or "
    elif free_gib < DATA_NEEDED_GIB:
        message = f"CIFAR-10 is not in {folder}, where {free_gib:.1f} GiB are free; it takes "
        message, advice = f"{message}{DATA_NEEDED_GIB} GiB", "make room, or "
    advice += "bench data cifar10, or --data-dir with a folder that has it"
    return Check(name="data", status="warn", message=message, advice=advice)


def disk(results: Path) -> Check:
    """Whether the disk of the results has room."""
    free_gib = shutil.disk_usage(_existing(results)).free / 2**30
    if free_gib < DISK_NEEDED_GIB:
        message = f"{free_gib:.1f} GiB are free for {results}, {DISK_NEEDED_GIB:.0f} are advised"
        advice = "make room, or name a folder on another disk with --out"
        return Check(name="disk", status="warn", message=message, advice=advice)
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


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def temporary() -> Check:
    """Whether there is a place for temporary files, which torch.compile and npm need."""
    named = os.environ.get("TMPDIR")
    try:
        folder = tempfile.gettempdir()
    except OSError:
        message = "no folder takes temporary files: torch.compile fails"
        advice = f"mkdir -p {named or '/tmp'}, or set TMPDIR to a folder that can be written"
        return Check(name="temp", status="fail", message=message, advice=advice)
    if named and not (Path(named).is_dir() and _writable(Path(named))):
        message = f"TMPDIR={named} cannot be written: temporary files go to {folder}"
        advice = f"mkdir -p {named}, or unset TMPDIR"
        return Check(name="temp", status="warn", message=message, advice=advice)
    return Check(name="temp", status="ok", message=f"{folder} can be written")


def threads() -> Check:
    """Whether the CPU is free and its cores are used."""
    cores = usable_cores()
    limited = os.environ.get("OMP_NUM_THREADS", "")
    if limited.isdecimal() and int(limited) < cores:
        message = f"OMP_NUM_THREADS={limited} leaves {cores - int(limited)} of {cores} cores idle"
        return Check(name="cpu", status="warn", message=message, advice="unset OMP_NUM_THREADS")
    load = os.getloadavg()[0]
    if load > cores + 1:
        message = f"{cores} cores under a load of {load:.1f}: times will be too long"
        return Check(name="cpu", status="warn", message=message, advice="stop other work first")
    return Check(name="cpu", status="ok", message=f"{cores} cores, load {load:.1f}")
