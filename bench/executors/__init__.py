"""Chooses the executor that a command asks for. Ray and submitit are imported only when needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from bench.errors import UsageError, check_choice
from bench.executors.base import Executor
from bench.executors.local import LocalExecutor, WarmStart
from bench.executors.multi_gpu import MultiGpuExecutor, same_model, visible_gpus
from bench.executors.remote import Cluster, RemoteExecutor
from bench.executors.slurm import SlurmCluster, SlurmOptions, read_slurm_options
from bench.text import Log

EXECUTORS = {"local": "", "ray": "ray", "slurm": "submitit"}  # with their required packages


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where runs are to be trained.

    Args:
        address: Address of the Ray cluster: host:port, or auto.
    """

    name: str = "local"
    address: str = "auto"
    slurm: SlurmOptions = field(default_factory=SlurmOptions)


def choose_executor(name: str, address: str = "auto", slurm: Sequence[str] = ()) -> Choice:
    """Checks the command-line options before planning.

    Args:
        slurm: Slurm options, each as KEY=VALUE.

    Raises:
        UsageError: There is no such executor or option, or the package it needs is not installed.
    """
    check_choice("value of --executor", name, EXECUTORS)
    if name != "ray" and address != "auto":
        raise UsageError("--address is for Ray clusters: leave it out, or add --executor ray")
    if name != "slurm" and slurm:
        raise UsageError("--slurm is for Slurm clusters: leave it out, or add --executor slurm")
    options, package = read_slurm_options(slurm), EXECUTORS[name]
    if package and find_spec(package) is None:
        raise UsageError(
            f"--executor {name} needs {package}, which is not installed: "
            f"pip install 'pipeline-bench[{name}]'"
        )
    return Choice(name=name, address=address, slurm=options)


def create_executor(
    wanted: Choice,
    *,
    device: str,
    timeout_s: float,
    log: Log,
    exclusive_timing: bool = False,
    early: WarmStart | None = None,
) -> Executor:
    """Creates the executor.

    Args:
        log: Called with messages about GPUs, and about jobs that wait for a cluster.
        exclusive_timing: Whether to train only one run at a time on this host.
        early: Gives its worker to an executor that trains one run at a time on this host.

    Raises:
        UsageError: There is no cluster, or its nodes cannot be used.
        StoreError: A required folder cannot be created.
    """
    if wanted.name == "local":
        parallel = device == "cuda" and not exclusive_timing
        devices = _gpus_of_one_model(log) if parallel else []
        if len(devices) > 1:
            return MultiGpuExecutor(devices=devices, timeout_s=timeout_s)
        worker = early.take(device) if early else None
        return LocalExecutor(timeout_s=timeout_s, prestart=parallel, next_worker=worker)
    cluster: Cluster
    if wanted.name == "ray":
        from bench.executors.ray import RayCluster

        cluster = RayCluster.connect(wanted.address, device=device, timeout_s=timeout_s)
    else:
        cluster = SlurmCluster.connect(wanted.slurm, device=device, timeout_s=timeout_s, log=log)
    return RemoteExecutor(cluster=cluster)


def _gpus_of_one_model(log: Log) -> list[str]:
    """Identifiers of the visible GPUs of the first one's model."""
    visible = visible_gpus()
    used = same_model(visible)
    if len(used) < len(visible):
        log(
            f"{len(visible) - len(used)} of {len(visible)} GPUs are not {visible[0].name}, which "
            "names the results folder, so they are not used (CUDA_VISIBLE_DEVICES chooses)"
        )
    if len(used) > 1:
        log(
            f"{len(used)} GPUs, one run on each at a time: runs may slow each other down; "
            "--exclusive-timing measures their times again, one run at a time"
        )
    return [gpu.uuid for gpu in used]
