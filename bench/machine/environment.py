"""Hardware and software of this machine, for records, and a probe of its device.

`describe` is for workers, which use the device. `machine_name` and `probe` are for their parent,
which never touches CUDA: a short-lived process probes the device.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from bench.process import error_line, run_briefly, run_watched, usable_cores
from bench.store.files import slug
from bench.text import shell_command
from pipelines.compiling import compiler_problem
from pipelines.dali_ops.trial import wheels

PACKAGES = {
    "pipeline_bench": "pipeline-bench",
    "torch": "torch",
    "torchvision": "torchvision",
    "kornia": "kornia",
    "timm": "timm",
}
OPTIONAL = {  # of pipelines; recorded if they are installed
    "albumentations": "albumentations",
    "opencv": "opencv-python-headless",
    **{name: name for name in ("ffcv", "grain", "spdl", "turboloader")},
}
PROBE_TIMEOUT_S = 180.0
DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg")  # one for a GPU
MARK_LENGTH = 8
MAX_NAME_LENGTH = 100  # for a GPU or a driver


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Capabilities of the device, found by trying.

    Args:
        torch: Version; "" if it can't be imported.
        torch_cuda: CUDA version that torch was built for.
        cuda: Whether a kernel ran on the GPU; `cuda_problem` says why not.
        gpu: Name of the GPU, even if it can't be used.
        capability: Compute capability, "9.0".
        built_for: Capabilities that torch has code for, "7.5 8.0 9.0"; "" if a kernel ran.
        bf16: Whether the GPU multiplies bf16 natively.
        compiler: Whether torch.compile finds a C++ compiler (and Triton, for a GPU);
            `compiler_problem` says why not.
    """

    torch: str = ""
    torch_cuda: str = ""
    cuda: bool = False
    cuda_problem: str = ""
    gpu: str = ""
    capability: str = ""
    built_for: str = ""
    memory_gib: float | None = None
    bf16: bool = False
    compiler: bool = False
    compiler_problem: str = ""


def describe(device: str) -> dict[str, Any]:
    """Software and hardware for the record, without names of host, user or path."""
    import torch

    software = {name: package_version(package) for name, package in PACKAGES.items()}
    optional = {name: package_version(package) for name, package in OPTIONAL.items()}
    plain: dict[str, Any] = {
        "python": platform.python_version(),
        **software,
        **{name: found for name, found in optional.items() if found},
        "dali": dali_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,  # type: ignore[no-untyped-call]
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "ram_gib": ram_gib(),
        "os": operating_system(),
        "host": host_mark(),
    }
    return plain | _describe_gpu(device) | code_version()


def _describe_gpu(device: str) -> dict[str, Any]:
    names = ("driver", "gpu", "gpu_mark", "gpu_count", "gpu_memory_gib", "gpu_capability")
    if device != "cuda":
        return dict.fromkeys(names)
    import torch

    properties = torch.cuda.get_device_properties(0)
    values = (
        _driver(),
        properties.name,
        str(properties.uuid).removeprefix("GPU-")[:MARK_LENGTH],
        torch.cuda.device_count(),
        round(properties.total_memory / 2**30, 2),
        f"{properties.major}.{properties.minor}",
    )
    return dict(zip(names, values, strict=True))


@cache
def _driver() -> str | None:
    return nvidia_smi("driver_version")


def host_mark() -> str:
    """Distinguishes hosts: "3f9c02ab", a hash, as systemd's machine-id is not to be published."""
    try:
        number = Path("/etc/machine-id").read_text()
    except OSError:
        number = ""
    text = f"pipeline-bench {number.strip()} {platform.node()}"
    return hashlib.sha256(text.encode()).hexdigest()[:MARK_LENGTH]


def machine_name(device: str) -> str:
    """The machine's part of a group's name: "nvidia-h100-80gb-hbm3", "amd-epyc-2-cores"."""
    if device == "cuda":
        return slug(nvidia_smi("name") or probe().gpu or "unknown gpu")
    return slug(f"{_short(cpu_model())} {usable_cores()} cores")


def machine_names() -> tuple[str, ...]:
    """Names of this machine with and without its GPU, found without torch."""
    gpu = nvidia_smi("name")
    return (*([slug(gpu)] if gpu else []), machine_name("cpu"))


def nvidia_smi(field: str) -> str | None:
    """One field of the first visible GPU, without using CUDA; None if unknown."""
    text = run_command(nvidia_smi_command(field))
    return text if text is not None and is_plain_line(text) else None


def is_plain_line(text: str) -> bool:
    """Whether the output of nvidia-smi may be a name or a version."""
    return len(text) <= MAX_NAME_LENGTH and text.isprintable()


def nvidia_smi_command(fields: str) -> list[str]:
    """The command that prints fields of the first visible GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    visible = "0" if visible in ("", "-1") else visible
    return ["nvidia-smi", f"--id={visible}", f"--query-gpu={fields}", "--format=csv,noheader"]


def run_command(command: list[str], timeout_s: float = 10.0) -> str | None:
    """Output of a command; None if it is missing, fails or hangs."""
    answer = run_briefly(command, timeout_s=timeout_s)
    return None if answer.problem else answer.text or None


@cache
def package_version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def dali_version() -> str | None:
    """Version of the installed wheel; there is one for each major version of CUDA."""
    return next(filter(None, map(package_version, wheels())), None)


@cache
def cpu_model() -> str:
    """The processor's name: "AMD EPYC 7763 64-Core Processor"."""
    if sys.platform == "darwin":
        return run_command(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"^(?:model name|cpu model|Processor)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _short(model: str) -> str:
    noise = r"\((?:R|TM|C)\)|@.*|\bCPU\b|\b\d+-Core\b|\bProcessor\b"
    return " ".join(re.sub(noise, " ", model, flags=re.IGNORECASE).split())


def ram_gib() -> float:
    """Physical memory."""
    return float(round(psutil.virtual_memory().total / 2**30, 2))


def operating_system() -> str:
    """Distribution and version of the kernel: "Debian GNU/Linux 12, Linux 6.1"."""
    kernel = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


@cache
def code_version() -> dict[str, Any]:
    """Commit of the checkout with this code, and whether it was changed; None if unknown."""
    file = Path(__file__).resolve()
    git = ["git", "-C", str(file.parent)]
    tracked = run_command([*git, "ls-files", "--error-unmatch", file.name])
    commit = run_command([*git, "rev-parse", "HEAD"]) if tracked else None
    if commit is None:
        return {"commit": None, "dirty": None}
    status = run_briefly([*git, "status", "--porcelain", "--untracked-files=no", ":/"])
    return {"commit": commit, "dirty": None if status.problem else bool(status.text)}


def command_line() -> str:
    """This command as a user would type it, with the home folder as "~"."""
    name, *rest = sys.argv
    program = "bench" if Path(name).name in {"bench", "__main__.py"} else Path(name).name
    return shell_command([program, *rest])


def python_module(name: str) -> list[str]:
    """The command that runs a module of this suite, whatever the current folder contains."""
    return [sys.executable, "-P", "-m", name]


def python_environment() -> dict[str, str]:
    """An environment in which `python_module` finds the same suite as this process."""
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def probe_without_torch() -> Probe | None:
    """The result of `probe` if there is no GPU driver, found without importing torch; else None."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return None
    built = dict(re.findall(r"^(\w+)\b.* = '(.+)'$", text, re.MULTILINE))
    driver = any(map(os.path.exists, DRIVERS)) or shutil.which("nvidia-smi")
    if "__version__" not in built or "hip" in built or (driver and "cuda" in built):
        return None
    compiler = compiler_problem(gpu=False)
    no_driver = "Found no NVIDIA driver on your system"
    return Probe(
        torch=built["__version__"],
        torch_cuda=built.get("cuda", ""),
        cuda_problem=no_driver if "cuda" in built else "Torch not compiled with CUDA enabled",
        compiler=not compiler,
        compiler_problem=compiler,
    )


def timed_out(timeout_s: float) -> Probe:
    """The result of a probe that took too long."""
    return Probe(cuda_problem=f"torch did not answer within {timeout_s:.0f} s")


def probe(timeout_s: float = PROBE_TIMEOUT_S) -> Probe:
    """Probes the device in a separate process, so that this one never touches CUDA."""
    try:
        done = run_watched(
            python_module("bench.machine.probe"),
            timeout_s=timeout_s,
            environment=python_environment(),
        )
    except subprocess.TimeoutExpired as error:
        return timed_out(error.timeout)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return Probe(cuda_problem=f"torch could not be tried: {error_line(done)}")
    try:
        return Probe(**json.loads(lines[-1]))
    except (ValueError, TypeError):
        return Probe(cuda_problem=f"torch could not be tried: it printed {lines[-1][:100]!r}")
