"""`bench doctor`: checks this machine and suggests commands that fix problems."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bench.machine import environment
from bench.machine.environment import Probe, python_environment
from bench.process import error_line, run_briefly, run_watched, usable_cores
from bench.store.files import StoreError, explained
from bench.text import count
from pipelines import shared_memory

Status = Literal["ok", "warn", "fail"]

TRIAL_TIMEOUT_S = 300.0
SMI_TIMEOUT_S = 10.0
MIN_TORCH = (2, 11)
MIN_DISK_GIB = 2.0
MIN_SHARED_GIB = 1.0  # eight workers with batches of 512 small images take 0.1, of larger ones 5
MIN_DATA_GIB = 0.6  # CIFAR-10's archive, what it unpacks to, and the cache
NO_GPU = "No devices were found"  # output of nvidia-smi
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"
TORCH_FOR_CUDA_12 = f"{REINSTALL_TORCH} --index-url https://download.pytorch.org/whl/cu126"
DALI_WHEELS = {
    12: "nvidia-dali-cuda120",
    13: "nvidia-dali-cuda130",
}  # by CUDA version of the driver
LIBRARIES: dict[str, tuple[str, Status, str]] = {  # module, status without it, advice
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
PROBE_TRIAL = """
import json
from dataclasses import asdict
from bench.machine.probe import probe_here
print(json.dumps(asdict(probe_here())))
"""
TOGETHER = """
import contextlib, json, time
from bench.process import exit_without_teardown
def main():
    for name, code in {trials!r}.items():
        start = time.monotonic()
        with contextlib.suppress(BaseException):
            exec(code, {{}})
            print(json.dumps([name, time.monotonic() - start]), flush=True)
exit_without_teardown(main)
"""
DALI_TRIAL = """
from pipelines.dali_ops import trial
print(trial.missing() or trial.fault({device!r}))
print(*trial.wheels())
"""
WITHOUT_COMPILE = "add --no-compile"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check.

    Args:
        status: "warn" for lost features or doubtful times; "fail" prevents runs.
        advice: The command that fixes a problem, if any.
    """

    name: str
    status: Status
    message: str
    advice: str = ""


def run_checks(data_dir: Path | None, results: Path) -> list[Check]:
    """Checks all that a grid needs; works without a GPU and without torch."""
    cpu = check_cpu()  # before the other checks use it
    smi = query_smi()
    probe, worked = try_together()
    probe = probe or environment.probe()
    with ThreadPoolExecutor(max_workers=2) as pool:
        libraries = pool.map(partial(check_library, worked=worked), LIBRARIES)
        dali = pool.submit(check_dali, probe, smi)
        compiler = pool.submit(check_compiler, probe, worked)
        python = _ok("python", platform.python_version())
        found: list[Check | None] = [python, *_gpu_checks(probe, smi)]
        found += [*libraries, dali.result(), compiler.result()]
    found += [check_data(data_dir), check_results(results), check_shared_memory()]
    found += [check_gpu_use(probe, smi), cpu]
    return [check for check in found if check is not None]


def gpu_problems(probe: Probe) -> str:
    """Problems with torch, the GPU and its driver, and their fixes, in one line."""
    checks = (check for check in _gpu_checks(probe, query_smi()) if check)
    return "; ".join(f"{c.message} -> {c.advice}" for c in checks if c.status != "ok")


def render(checks: Sequence[Check]) -> str:
    """The checks as text with advice, and a summary."""
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    lines = []
    for check in checks:
        lines.append(f"{marks[check.status]}  {check.name:<12} {check.message}")
        if check.advice:
            lines.append(f"      {'':<12} -> {check.advice}")
    failed = sum(check.status == "fail" for check in checks)
    warnings = sum(check.status == "warn" for check in checks)
    lines.append(f"{count(len(checks), 'check')}, {failed} failed, {count(warnings, 'warning')}")
    return "\n".join(lines) + "\n"


def _ok(name: str, message: str) -> Check:
    return Check(name=name, status="ok", message=message)


def _warn(name: str, message: str, advice: str) -> Check:
    return Check(name=name, status="warn", message=message, advice=advice)


def _fail(name: str, message: str, advice: str) -> Check:
    return Check(name=name, status="fail", message=message, advice=advice)


# torch, GPU, driver


@dataclass(frozen=True, kw_only=True)
class Smi:
    """Output of nvidia-smi for the first visible GPU.

    Args:
        cuda: Latest CUDA version that the driver supports; "" if unknown.
        problem: Why the output is missing.
    """

    gpu: str = ""
    driver: str = ""
    cuda: str = ""
    problem: str = ""
    missing: bool = False


def query_smi() -> Smi:
    """Runs nvidia-smi."""
    command = environment.nvidia_smi_command("name,driver_version")
    answer = run_briefly(command, timeout_s=SMI_TIMEOUT_S)
    if answer.problem:
        return Smi(problem=answer.problem, missing=answer.missing)
    name, comma, driver = answer.text.rpartition(", ")
    if not comma or not environment.is_plain_line(answer.text):
        return Smi(problem=f"nvidia-smi prints {answer.text[:60]!r}, which names no GPU")
    banner = run_briefly(["nvidia-smi"], timeout_s=SMI_TIMEOUT_S).text
    cuda = re.search(r"CUDA Version:\s*(\d+\.\d+)", banner)
    return Smi(gpu=name, driver=driver, cuda=cuda[1] if cuda else "")


def _gpu_checks(probe: Probe, smi: Smi) -> tuple[Check | None, ...]:
    return check_torch(probe), check_gpu(probe, smi), check_driver(probe, smi)


def check_torch(probe: Probe) -> Check:
    """Checks that torch can be imported and is new enough."""
    advice = f"pip install 'torch>={'.'.join(map(str, MIN_TORCH))}'"
    if not probe.torch:
        return _fail("torch", probe.cuda_problem, advice)
    if _version(probe.torch) < MIN_TORCH:
        return _fail("torch", f"{probe.torch} is too old, 2.11 is needed", advice)
    built = f"built for CUDA {probe.torch_cuda}" if probe.torch_cuda else "built without CUDA"
    return _ok("torch", f"{probe.torch}, {built}")


def check_gpu(probe: Probe, smi: Smi) -> Check:
    """Checks that a kernel runs on the GPU."""
    if probe.cuda:
        bf16 = "yes" if probe.bf16 else "no"
        memory = f"{probe.memory_gib} GiB, capability {probe.capability}, bf16 {bf16}"
        return _ok("gpu", f"{probe.gpu}, {memory}")
    if gpu := smi.gpu or probe.gpu:
        return _fail("gpu", f"{gpu} cannot be used: {probe.cuda_problem}", _gpu_advice(probe, smi))
    if smi.missing:
        message = "no NVIDIA GPU or no driver: runs use the CPU at scale 'cpu'"
        return _warn("gpu", message, "install the NVIDIA driver if this machine has a GPU")
    nothing_broken = NO_GPU in smi.problem
    return (_warn if nothing_broken else _fail)("gpu", smi.problem, _smi_advice(smi))


def _gpu_advice(probe: Probe, smi: Smi) -> str:
    if not probe.torch_cuda:
        return f"this torch is built for CPUs: {REINSTALL_TORCH}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it: unset CUDA_VISIBLE_DEVICES"
    other_build = (
        f"the GPU has capability {probe.capability}, this torch has code for {probe.built_for}: "
        f"pip install --upgrade torch torchvision, or for an old GPU {TORCH_FOR_CUDA_12}"
    )
    held = "another process holds it: nvidia-smi shows which; stop it, or wait"
    advice = {
        "no kernel image": other_build,
        "not compatible": other_build,
        "too old": _driver_advice(smi.cuda),
        "insufficient": _driver_advice(smi.cuda),
        "out of memory": held,
        "busy or unavailable": held,
        "not yet initialized": "the NVSwitches are not up: systemctl start nvidia-fabricmanager",
        "": "see what the driver logged: dmesg | grep -i nvrm; a reboot often helps",
    }
    return next(text for words, text in advice.items() if words in probe.cuda_problem.lower())


def _smi_advice(smi: Smi) -> str:
    if NO_GPU in smi.problem and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return "CUDA_VISIBLE_DEVICES names a GPU that does not exist: unset CUDA_VISIBLE_DEVICES"
    advice = {
        NO_GPU: "the driver sees no GPU; in a container, start it with docker run --gpus all",
        "hangs": "the driver does not answer: reboot",
        "mismatch": "the driver was updated while its old module is loaded: reboot",
        "communicate": "the driver's module is not loaded: modprobe nvidia; if that fails, "
        "reinstall it",
        "": "see which nvidia-smi this is, and install the driver's: type -a nvidia-smi",
    }
    return next(text for words, text in advice.items() if words in smi.problem)


def check_driver(probe: Probe, smi: Smi) -> Check | None:
    """Checks that the driver is new enough for torch's CUDA."""
    if not smi.driver:
        if not probe.cuda or not smi.problem:
            return None
        message = f"{smi.problem}; other processes on the GPU cannot be seen"
        advice = "install the driver's nvidia-smi" if smi.missing else _smi_advice(smi)
        return _warn("driver", message, advice)
    if not smi.cuda or not probe.torch_cuda:
        return _ok("driver", smi.driver)
    if _version(smi.cuda)[0] >= _version(probe.torch_cuda)[0]:
        return _ok("driver", f"{smi.driver}, for CUDA up to {smi.cuda}")
    message = f"{smi.driver} supports CUDA up to {smi.cuda}, torch needs {probe.torch_cuda}"
    return _fail("driver", message, _driver_advice(smi.cuda))


def _driver_advice(cuda: str) -> str:
    if cuda and _version(cuda)[0] == 12:
        return f"update the driver, or install torch for CUDA 12: {TORCH_FOR_CUDA_12}"
    return "update the driver: see nvidia.com/drivers"


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0])[:2])


def check_gpu_use(probe: Probe, smi: Smi) -> Check | None:
    """Checks that no other processes use the GPU."""
    if not probe.cuda or smi.problem:
        return None
    query = "--query-compute-apps=pid,process_name,used_memory"
    answer = run_briefly(["nvidia-smi", query, "--format=csv,noheader"], timeout_s=SMI_TIMEOUT_S)
    if answer.problem:
        return _warn("gpu use", answer.problem, _smi_advice(Smi(problem=answer.problem)))
    if not answer.text:
        return _ok("gpu use", "no other process on the GPU")
    message = f"other processes on the GPU: {'; '.join(answer.text.splitlines())}"
    return _warn("gpu use", message, "wait for them or stop them: they make timings worthless")


# Libraries and torch.compile, tried in one process, and separately where that fails


def try_together() -> tuple[Probe | None, dict[str, float]]:
    """Probes the device and tries the libraries and torch.compile in one process.

    Importing torch takes most of the time of each. Returns the probe, if it succeeded, and the
    seconds of each trial that did; the others may have failed because of each other.
    """
    imports = {name: f"import {module}" for name, (module, _, _) in LIBRARIES.items()}
    trials = {"probe": PROBE_TRIAL, **imports, "compile": COMPILE_TRIAL}
    try:
        done = try_python(TOGETHER.format(trials=trials))
    except subprocess.TimeoutExpired:
        return None, {}
    probe: Probe | None = None
    worked: dict[str, float] = {}
    for line in done.stdout.splitlines():
        with suppress(ValueError, TypeError):  # printed by a library
            answer = json.loads(line)
            if isinstance(answer, dict):
                probe = Probe(**answer)
            else:
                worked.update([answer])
    return probe, worked


def try_python(code: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python code in a new process; TimeoutExpired if it takes too long or is idle."""
    return run_watched(
        [sys.executable, "-P", "-c", code],
        timeout_s=TRIAL_TIMEOUT_S,
        environment=python_environment(),
    )


def check_library(name: str, worked: Mapping[str, float] = MappingProxyType({})) -> Check:
    """Checks that a library of `LIBRARIES` can be imported, unless that is among what `worked`."""
    module, status, advice = LIBRARIES[name]
    if name not in worked:
        try:
            done = try_python(f"import {module}")
        except subprocess.TimeoutExpired as error:
            return _fail(name, f"importing it takes more than {error.timeout:.0f} s", advice)
        if done.returncode:
            message = f"cannot be imported: {error_line(done)}"
            return Check(name=name, status=status, message=message, advice=advice)
    version = environment.package_version(environment.PACKAGES.get(name, name))
    return _ok(name, version or "importable")


def check_dali(probe: Probe, smi: Smi) -> Check:
    """Checks that DALI works on the device of the runs; otherwise its cells are skipped."""
    if sys.platform != "linux":
        return _ok("dali", "for Linux only, its cells are skipped")
    try:
        done = try_python(DALI_TRIAL.format(device="cuda" if probe.cuda else "cpu"))
    except subprocess.TimeoutExpired as error:
        message = f"trying it takes more than {error.timeout:.0f} s: its cells will time out"
        return _warn("dali", message, "pip uninstall nvidia-dali-cuda130")
    fault, wheels = [*done.stdout.splitlines(), "", ""][:2]
    if done.returncode:
        fault = error_line(done)
    if not fault:
        return _ok("dali", environment.dali_version() or "importable")
    message = f"its cells are skipped: {fault}"
    if "not installed" in fault and not probe.cuda:  # it is optional without a GPU
        return _ok("dali", message)
    return _warn("dali", message, _dali_advice(wheels.split(), smi))


def _dali_advice(wheels: list[str], smi: Smi) -> str:
    """The command that installs the wheel for the driver's CUDA and removes others."""
    newest = max(DALI_WHEELS)
    wheel = DALI_WHEELS.get(min(newest, _version(smi.cuda)[0]) if smi.cuda else newest)
    if wheel is None:
        return f"there is no DALI for CUDA {smi.cuda}: update the driver"
    wrong = [name for name in wheels if name != wheel]
    if wrong:
        return f"pip uninstall --yes {' '.join(wrong)} && pip install {wheel}"
    return f"pip install {'--force-reinstall ' if wheels else ''}{wheel}"


def check_compiler(probe: Probe, worked: Mapping[str, float] = MappingProxyType({})) -> Check:
    """Checks that torch.compile works by compiling a small function, as `check_library`."""
    if probe.compiler_problem:
        message = f"torch.compile cannot work: {probe.compiler_problem}"
        return _warn("compile", message, _compiler_advice(message))
    if "compile" in worked:
        return _ok("compile", f"compiled a small function in {worked['compile']:.0f} s")
    start = time.monotonic()
    try:
        done = try_python(COMPILE_TRIAL)
    except subprocess.TimeoutExpired as error:
        message = f"torch.compile takes more than {error.timeout:.0f} s for a small function"
        return _warn("compile", message, WITHOUT_COMPILE)
    if done.returncode:
        message = f"torch.compile fails: {error_line(done)}"
        return _warn("compile", message, _compiler_advice(message))
    return _ok("compile", f"compiled a small function in {time.monotonic() - start:.0f} s")


def _compiler_advice(problem: str) -> str:
    broken = "does not work" in problem
    for name in ("CXX", "CC"):
        chosen = broken and f" {os.environ.get(name)} " in problem
        if chosen or f" that {name} names " in problem:
            return f"unset {name}, which names this compiler (or {WITHOUT_COMPILE})"
    if "Triton" in problem:
        return f"pip install triton (or {WITHOUT_COMPILE})"
    if sys.platform == "darwin":
        return f"xcode-select --install (or {WITHOUT_COMPILE})"
    if "Python.h" in problem:
        return f"apt-get install python3-dev (or {WITHOUT_COMPILE})"
    compilers = "gcc libc6-dev" if " C compiler" in problem else "g++"
    reinstall = "--reinstall " if broken else ""
    return f"apt-get install {reinstall}{compilers} python3-dev (or {WITHOUT_COMPILE})"


# Data, folders, CPU


def check_data(data_dir: Path | None) -> Check:
    """Checks that CIFAR-10 is on this machine or there is space for it."""
    try:
        from pipelines import sources

        folder = data_dir or sources.default_data_dir()
        present = sources.is_cached("cifar10", folder)
    except (ImportError, OSError, RuntimeError) as error:
        advice = "name a writable folder with --data-dir"
        return _fail("data", f"sources cannot be read: {error}", advice)
    if present:
        return _ok("data", f"CIFAR-10 is in {folder}")
    message, advice = f"CIFAR-10 is not in {folder}", ""
    parent = _existing(folder)
    free_gib = shutil.disk_usage(parent).free / 2**30
    if not _writable(parent):
        message, advice = f"{message}, which cannot be written", "permit it, or "
    elif free_gib < MIN_DATA_GIB:
        message = f"{message}, where {free_gib:.1f} GiB are free; it takes {MIN_DATA_GIB} GiB"
        advice = "make room, or "
    else:
        message += "; a run tries to download it"
    advice += "bench data cifar10, or --data-dir with a folder that has it"
    return _warn("data", message, advice)


def check_results(results: Path) -> Check:
    """Checks that results can be written and have space; does not create the folder."""
    folder = _existing(results)
    trial = folder / f".trial.{os.getpid()}.tmp"
    try:
        with explained(f"write to {folder}"):
            trial.write_bytes(b"")
            trial.unlink()
    except StoreError as error:
        return _fail("results", str(error), "name another folder with --out")
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < MIN_DISK_GIB:
        message = f"{free_gib:.1f} GiB are free for {results}, {MIN_DISK_GIB:.0f} are advised"
        return _warn("results", message, "make room, or name a folder on another disk with --out")
    return _ok("results", f"{results} can be written, {free_gib:.0f} GiB are free")


def check_shared_memory() -> Check | None:
    """Checks that there is room for the batches of pipelines with worker processes."""
    free = shared_memory.free_bytes()
    if free is None:
        return None
    message = f"{shared_memory.PLACE} has {free / 2**30:.2f} GiB free"
    if free >= MIN_SHARED_GIB * 2**30:
        return _ok("shared mem", message)
    message += ": large batches of torchvision's workers do not fit, and their cells are skipped"
    return _warn("shared mem", message, "in a container, start it with docker run --shm-size=8g")


def check_cpu() -> Check:
    """Checks that the CPU is idle and all its cores are used."""
    cores = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit) < cores:
        message = f"OMP_NUM_THREADS={limit} leaves {cores - int(limit)} of {cores} cores idle"
        return _warn("cpu", message, "unset OMP_NUM_THREADS")
    load = os.getloadavg()[0]
    if load > cores + 1:
        message = f"{cores} cores under a load of {load:.1f}: times will be too long"
        return _warn("cpu", message, "stop other work first")
    return _ok("cpu", f"{cores} cores, load {load:.1f}")


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
