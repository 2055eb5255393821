"""What works on this machine, and the line that mends what does not."""

import os
import platform
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import environment
from bench.doctor_base import Check, render
from bench.doctor_gpu import driver, gpu, look, neighbours, torch
from bench.doctor_libraries import LIBRARIES, compiler, dali, library
from bench.environment import Probe
from bench.files import StoreError, explained

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


__all__ = ["Check", "checks", "gpu_told", "render"]
