"""Which executor a command asks for. Ray and submitit are imported only for who wants them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from bench.errors import UsageError
from bench.executors.base import Executor
from bench.executors.slurm import SlurmOptions, read_slurm_options
from pipelines.catalog import unknown_name

EXECUTORS = {"local": "", "ray": "ray", "slurm": "submitit"}  # and the package that each needs


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where runs are to be trained.

    Args:
        name: One of `EXECUTORS`.
        address: Of the Ray cluster: host:port, or auto.
        slurm: How jobs of a Slurm cluster are submitted.
    """

    name: str = "local"
    address: str = "auto"
    slurm: SlurmOptions = field(default_factory=SlurmOptions)


def choose_executor(name: str, address: str = "auto", slurm: Sequence[str] = ()) -> Choice:
    """What was asked for, looked at before anything is planned.

    Args:
        name: Of the executor.
        address: Of the Ray cluster.
        slurm: Options, each as KEY=VALUE.

    Raises:
        UsageError: There is no such executor or option, or what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise UsageError(unknown_name("value of --executor", name, list(EXECUTORS)))
    if name != "ray" and address != "auto":
        raise UsageError("--address is of a Ray cluster: leave it out, or add --executor ray")
    if name != "slurm" and slurm:
        raise UsageError("--slurm is of a Slurm cluster: leave it out, or add --executor slurm")
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
    told: Callable[[str], None],
    one_at_a_time: bool = False,
) -> Executor | None:
    """The executor, ready to run; None for this host and one run at a time.

    Args:
        wanted: Which.
        device: What the runs are trained on, "cuda" or "cpu".
        timeout_s: Longest that one run may take.
        told: Is told in a line what becomes of jobs that do not run yet.
        one_at_a_time: Whether several GPUs of this host are left alone.

    Raises:
        UsageError: There is no cluster, or its nodes cannot be used.
        StoreError: A folder that it needs cannot be made.
    """
    if wanted.name == "local":
        return None if device != "cuda" or one_at_a_time else _on_all_gpus(timeout_s, told)
    from bench.executors.remote import Cluster, RemoteExecutor

    cluster: Cluster
    if wanted.name == "ray":
        from bench.executors.ray_apart import RayApart

        cluster = RayApart.connect(wanted.address, device=device, timeout_s=timeout_s)
    else:
        from bench.executors.slurm import SlurmCluster

        cluster = SlurmCluster.connect(wanted.slurm, device=device, timeout_s=timeout_s, told=told)
    return RemoteExecutor(cluster=cluster)


def _on_all_gpus(timeout_s: float, told: Callable[[str], None]) -> Executor | None:
    """For a host with several GPUs; None for one with one."""
    from bench.executors.multi_gpu import same_model, visible_gpus

    found = visible_gpus()
    if len(found) < 2:
        return None
    used = same_model(found)
    if len(used) < len(found):
        told(
            f"{len(found) - len(used)} of {len(found)} GPUs are no {found[0].name}, which the "
            "results are filed under: they are left alone (CUDA_VISIBLE_DEVICES chooses)"
        )
    if len(used) < 2:
        return None
    from bench.executors.multi_gpu import MultiGpuExecutor

    told(
        f"{len(used)} GPUs, a run on each at a time: times are taken beside each other, until "
        "--exclusive-timing takes them again alone"
    )
    devices = [gpu.uuid for gpu in used]
    return MultiGpuExecutor(devices=devices, timeout_s=timeout_s)
