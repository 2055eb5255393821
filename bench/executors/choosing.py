"""Which executor a command asks for. Ray is imported only for who wants it."""

from importlib.util import find_spec

from bench.errors import UsageError
from bench.executors import Executor
from pipelines.catalog import unknown_name

EXECUTORS = ("local", "ray")


def check_choice(name: str, address: str) -> None:
    """Looks at what was asked for, before anything is planned.

    Raises:
        UsageError: There is no such executor, or what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise UsageError(unknown_name("value of --executor", name, list(EXECUTORS)))
    if name != "ray" and address != "auto":
        raise UsageError("--address is of a Ray cluster: leave it out, or add --executor ray")
    if name != "local" and find_spec(name) is None:
        raise UsageError(
            f"--executor {name} needs {name}, which is not installed: "
            f"pip install 'pipeline-bench[{name}]'"
        )


def chosen(name: str, *, address: str, device: str, timeout_s: float) -> Executor | None:
    """The executor of that name, ready to run; None for local, which needs no preparation.

    Args:
        name: One of `EXECUTORS`.
        address: Of the Ray cluster: host:port, or auto.
        device: What the runs are trained on, "cuda" or "cpu".
        timeout_s: Longest that one run may take.

    Raises:
        UsageError: There is no cluster at the address, or its nodes cannot be used.
    """
    if name == "local":
        return None
    from bench.executors.ray import RayCluster
    from bench.executors.remote import RemoteExecutor

    return RemoteExecutor(cluster=RayCluster.connect(address, device=device, timeout_s=timeout_s))


__all__ = ["EXECUTORS", "check_choice", "chosen"]
