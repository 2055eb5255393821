"""Jobs as tasks of a Ray cluster; what a task does is `bench.executors.remote_job`'s."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.errors import UsageError
from bench.executors.protocol import read_message
from bench.executors.remote import Lost, News, Said
from bench.executors.remote_job import (
    THREADS,
    Facts,
    NodeMismatch,
    check_node,
    facts,
    keep,
    serve_job,
)
from bench.job import Job
from bench.process import signals_allowed
from bench.store.files import StoreError
from bench.store.store import Store

ENGINE = "ray"
POLL_S = 0.2
CONNECT_S = 5.0
LOOK_S = 120.0
STOP_S = 10.0
NODELESS_S = 60.0


@dataclass(kw_only=True)
class RayCluster:
    """A `Cluster` of Ray nodes. A ticket is the generator of a task's results.

    Args:
        device: What the runs are trained on.
        timeout_s: Longest that one run may take.
    """

    device: str
    timeout_s: float
    _ours: Facts
    _jobs: dict[Any, Job] = field(default_factory=dict)
    _nodeless_since: float | None = None
    _task: Any = None
    _here: str = ""  # this host's node

    @classmethod
    def connect(cls, address: str, *, device: str, timeout_s: float) -> "RayCluster":
        """Joins the cluster at an address.

        Raises:
            UsageError: There is none, or its nodes cannot be used.
        """
        _join(address)
        here = ray.get_runtime_context().get_node_id()
        cluster = cls(device=device, timeout_s=timeout_s, _ours=facts(device, ENGINE), _here=here)
        cluster._look()
        return cluster

    @property
    def _unit(self) -> str:
        """What a job needs one of."""
        return "GPU" if self.device == "cuda" else "CPU"

    @property
    def _needs(self) -> dict[str, int]:
        return {"num_gpus": 1, "num_cpus": 0} if self.device == "cuda" else {"num_cpus": 1}

    def _look(self) -> None:
        """Compares the nodes that can have jobs with this process."""
        look, asked = ray.remote(check_node), {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get(self._unit, 0) >= 1:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = look.options(num_cpus=0, max_retries=0, scheduling_strategy=where)
                asked[task.remote(self.device, ENGINE, self._ours)] = node["NodeManagerAddress"]
        good = sum(_looked_at(answer, host) for answer, host in asked.items())
        if not good:
            raise UsageError(self._without_nodes)

    @property
    def _without_nodes(self) -> str:
        return (
            f"no node of the Ray cluster has a {self._unit} to give: start one with "
            f"`ray start --address=HOST:PORT --num-{self._unit.lower()}s=1`"
        )

    def room(self) -> int:
        """A job for each GPU, or on CPUs for each that the nodes were started with."""
        nodes = ray.nodes()
        if any(node["NodeID"] == self._here and not node["Alive"] for node in nodes):
            raise UsageError("Ray's node on this host has died: start it again with `ray start`")
        alive = (node["Resources"] for node in nodes if node["Alive"])
        room = int(sum(resources.get(self._unit, 0) for resources in alive))
        if room:
            self._nodeless_since = None
            return room
        self._nodeless_since = self._nodeless_since or time.monotonic()
        if time.monotonic() - self._nodeless_since > NODELESS_S:
            raise UsageError(self._without_nodes)
        return 0

    def begin(self, jobs: Sequence[Job]) -> list[Any]:
        """Sends each to a node; of several free ones, to one that has none."""
        return [self._begin(job) for job in jobs]

    def _begin(self, job: Job) -> Any:
        if self._task is None:  # each that is made waits for the head when it is first called
            self._task = ray.remote(serve_job).options(
                **self._needs, max_retries=0, scheduling_strategy="SPREAD", num_returns="streaming"
            )
        Store(Path(job.folder)).fresh_log(job.run.id)
        ticket = self._task.remote(
            msgspec.json.encode(job), self.timeout_s, ENGINE, self._ours, os.environ.get(THREADS)
        )
        self._jobs[ticket] = job
        return ticket

    def news(self, tickets: Sequence[Any]) -> list[News]:
        """At most one message of each task."""
        with signals_allowed():
            ray.wait(list(tickets), num_returns=1, timeout=POLL_S, fetch_local=False)
        ready, _ = ray.wait(list(tickets), num_returns=len(tickets), timeout=0, fetch_local=False)
        heard = ((ticket, self._hear(ticket)) for ticket in ready)
        return [(ticket, message) for ticket, message in heard if message is not None]

    def _hear(self, ticket: Any) -> Said | None:
        try:
            said = ray.get(next(ticket))
        except exceptions.RayTaskError as error:
            raise _unusable("where a run was to be trained", error) from error
        except (exceptions.RayError, StopIteration) as error:
            return Lost(reason=_told(error) or "the task ended without a record")
        if isinstance(said, dict):
            keep(self._jobs[ticket], said)
            return None
        return read_message(said)

    def stop(self, tickets: Sequence[Any]) -> None:
        """Interrupts the tasks as Ctrl-C would, kills those that go on, and waits for their end."""
        left = [ticket.completed() for ticket in tickets]
        for force in (False, True):
            for task in left:
                ray.cancel(task, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=STOP_S, fetch_local=False)

    def close(self) -> None:
        """Nothing: the connection ends with this process."""


def _looked_at(answer: Any, host: str) -> bool:
    """Waits for what `compare` finds on a node; False for a node that is gone meanwhile.

    Raises:
        UsageError: The node cannot be used.
    """
    try:
        ray.get(answer, timeout=LOOK_S)
    except (exceptions.TaskUnschedulableError, exceptions.NodeDiedError):
        return False  # one that died is listed for some seconds more
    except exceptions.RayError as error:
        raise _unusable(host, error) from error
    return True


def _join(address: str) -> None:
    """Connects this process to the cluster.

    Raises:
        UsageError: There is none at the address, or it is of another version.
    """
    none = (
        f"no Ray cluster answers at {address}"
        if address != "auto"
        else "no Ray cluster runs on this host"
    )
    advice = "start one with `ray start --head`, or name another's with --address HOST:PORT"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:  # Ray itself would try for a minute
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(f"{none} ({error}): {advice}") from error
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"{none}: {advice}") from error
    except RuntimeError as error:
        raise UsageError(
            f"the Ray cluster at {address} cannot be joined: {_told(error)}"
        ) from error


def _unusable(host: str, error: exceptions.RayError) -> Exception:
    """What to say of a node on which a task cannot be done."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, NodeMismatch):
        return UsageError(str(cause))
    if isinstance(cause, StoreError):
        return StoreError(f"on a Ray node: {cause}")
    return UsageError(
        f"the Ray node {host} cannot do the work ({_told(cause or error)}): install the same "
        "pipeline-bench there"
    )


def _told(error: BaseException) -> str:
    """The first line of an error's own words."""
    return next(iter(str(error).strip().splitlines()), "")
