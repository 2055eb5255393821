"""Where a self-check takes place: device, source, folder, and the words for the machine."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.machine import environment
from bench.machine.environment import Probe
from bench.selfcheck.parts import GPU_TESTS, ROOT
from pipelines.catalog import unknown_name

PACKAGES = ("bench", "pipelines", "architectures", str(GPU_TESTS))
SOURCES = ["auto", "cifar10", "shapes"]
DEVICES = ["auto", "cuda", "cpu"]


def choose_device(asked: str, *, gpu: bool, probe: Probe) -> str:
    """ "cuda" or "cpu".

    Args:
        asked: A value of --device.
        gpu: Whether --gpu was given.
        probe: What there is.

    Raises:
        UsageError: A GPU was asked for and there is none that works, or both options contradict.
    """
    from bench.grid.plan import choose_device as choose

    if asked not in DEVICES:
        raise UsageError(unknown_name("value of --device", asked, DEVICES))
    if gpu and asked == "cpu":
        raise UsageError("--gpu asks for a GPU and --device cpu for none: leave one of them out")
    return choose("cuda" if gpu else asked, probe, [])


def check_source(asked: str) -> None:
    """Refuses a source that a self-check has no use for.

    Raises:
        UsageError: It is none of `SOURCES`.
    """
    if asked not in SOURCES:
        raise UsageError(unknown_name("value of --source", asked, SOURCES))


def code_digest(root: Path = ROOT, packages: Sequence[str] = PACKAGES) -> str:
    """12 hexadecimal digits over the code that is tried, and the tests that try it."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def describe(probe: Probe) -> dict[str, Any]:
    """Machine and software; no host, user or path is in it, and torch is not imported."""
    packages = {name: environment.package_version(of) for name, of in environment.PACKAGES.items()}
    return (
        packages
        | asdict(probe)
        | {
            "python": platform.python_version(),
            "dali": environment.dali_version(),
            "driver": environment.nvidia_smi("driver_version"),
            "cpu": environment.cpu_model(),
            "cores": environment.usable_cores(),
            "ram_gib": environment.ram_gib(),
            "os": environment.operating_system(),
        }
        | environment.code_version()
    )
