"""Runs jobs as tasks of a Ray cluster; `bench.executors.remote.run_job` is the task."""

import atexit
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event, Thread
from typing import Any

import msgspec
import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.errors import UsageError, innermost, shortened
from bench.executors.protocol import Message, read_message
from bench.executors.remote import (
    THREADS,
    JobLost,
    NodeMismatch,
    Versions,
    check_node,
    node_versions,
    run_job,
    save_files,
)
from bench.job import Job
from bench.process import signals_allowed
from bench.store.files import StoreError

PACKAGE = "ray"
POLL_S = 0.2
WATCH_S = 1.0  # between checks of the head
CONNECT_TIMEOUT_S = 5.0
CHECK_TIMEOUT_S = 120.0
CANCEL_TIMEOUT_S = 10.0
SILENT_S = 60.0  # for a message that Ray says has come
NO_NODE_TIMEOUT_S = 60.0
HEAD_TIMEOUT_S = 40.0  # after 60 s Ray kills the calling process


@dataclass(kw_only=True)
class RayCluster:
    """A `Cluster` of Ray nodes; a ticket is the generator of a task's results."""

    device: str
    timeout_s: float
    _versions: Versions
    _head: "_Head"
    _jobs: dict[Any, Job] = field(default_factory=dict)
    _no_node_since: float | None = None

    @classmethod
    def connect(cls, address: str, *, device: str, timeout_s: float) -> "RayCluster":
        """Connects this process to a cluster and checks its nodes; UsageError if it is unusable."""
        _connect(address)
        cluster = cls(
            device=device,
            timeout_s=timeout_s,
            _versions=node_versions(device, PACKAGE),
            _head=_Head(address=ray.get_runtime_context().gcs_address),
        )
        try:
            cluster._check_nodes()
        except BaseException:
            cluster.close()
            raise
        return cluster

    @property
    def _resource(self) -> str:
        return "GPU" if self.device == "cuda" else "CPU"

    def _check_nodes(self) -> None:
        """Compares every node that can run a job with this process."""
        check, host_of = ray.remote(check_node), {}
        for node in self._head.nodes:
            if node["Alive"] and node["Resources"].get(self._resource, 0) >= 1:
                on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = check.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node)
                answer = task.remote(self.device, PACKAGE, self._versions)
                host_of[answer] = node["NodeManagerAddress"]
        if not sum(_is_usable(answer, host) for answer, host in host_of.items()):
            raise UsageError(self._no_node)

    @property
    def _no_node(self) -> str:
        return (
            f"no node of the Ray cluster has a free {self._resource}: start one with "
            f"`ray start --address=HOST:PORT --num-{self._resource.lower()}s=1`"
        )

    def capacity(self) -> int:
        """One job per GPU or CPU of the nodes."""
        self._check_head()
        alive = [node["Resources"] for node in self._head.nodes if node["Alive"]]
        capacity = int(sum(resources.get(self._resource, 0) for resources in alive))
        if capacity:
            self._no_node_since = None
            return capacity
        self._no_node_since = self._no_node_since or time.monotonic()
        if time.monotonic() - self._no_node_since > NO_NODE_TIMEOUT_S:
            raise UsageError(self._no_node)
        with signals_allowed():
            time.sleep(POLL_S)
        return 0

    def _check_head(self) -> None:
        if self._head.is_lost:
            where = f"the Ray cluster at {self._head.address}"
            raise UsageError(f"the head of {where} has ended or does not answer")
        here = ray.get_runtime_context().get_node_id()
        if any(node["NodeID"] == here and not node["Alive"] for node in self._head.nodes):
            raise UsageError("Ray's node on this host has died: start it again with `ray start`")

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Submits one task per job, spread over the nodes."""
        tickets = []
        for job in jobs:
            encoded, threads = msgspec.json.encode(job), os.environ.get(THREADS)
            ticket = self._task.remote(encoded, self.timeout_s, PACKAGE, self._versions, threads)
            self._jobs[ticket] = job
            tickets.append(ticket)
        return tickets

    @cached_property
    def _task(self) -> Any:
        needs = {"num_gpus": 1, "num_cpus": 0} if self.device == "cuda" else {"num_cpus": 1}
        return ray.remote(run_job).options(
            **needs, max_retries=0, scheduling_strategy="SPREAD", num_returns="streaming"
        )

    def poll(self, tickets: Sequence[Any]) -> list[tuple[Any, Message | JobLost]]:
        """At most one new message per task."""
        with signals_allowed():
            ray.wait(list(tickets), num_returns=1, timeout=POLL_S, fetch_local=False)
        self._check_head()
        ready, _ = ray.wait(list(tickets), num_returns=len(tickets), timeout=0, fetch_local=False)
        messages = ((ticket, self._next_message(ticket)) for ticket in ready)
        return [(ticket, message) for ticket, message in messages if message is not None]

    def _next_message(self, ticket: Any) -> Message | JobLost | None:
        try:
            result = ray.get(next(ticket), timeout=SILENT_S)
        except exceptions.RayTaskError as error:
            raise _unusable_node("that was to train a run", error) from error
        except (exceptions.RayError, StopIteration) as error:
            return JobLost(reason=_first_line(error) or "the task ended without a record")
        if isinstance(result, dict):
            save_files(self._jobs[ticket], result)
            return None
        return read_message(result)

    def cancel(self, tickets: Sequence[Any]) -> None:
        """Interrupts the tasks, kills those that continue, and waits for their end."""
        running = [ticket.completed() for ticket in tickets]
        for force in (False, True):
            for task in running:
                ray.cancel(task, force=force)
            if running:
                _, running = ray.wait(
                    running, num_returns=len(running), timeout=CANCEL_TIMEOUT_S, fetch_local=False
                )

    def close(self) -> None:
        """Disconnects this process, unless the head hangs, as this would crash or hang then."""
        if self._head.stop_watching():
            ray.shutdown()
        else:
            atexit.unregister(ray.shutdown)


class _Head:
    """Watches the head of a cluster, in a thread since calls to a hanging head never return.

    Ray kills the calling process a minute after it lost the head, so the loss must be noticed
    earlier. A closed connection shows it at once.
    """

    def __init__(self, *, address: str) -> None:
        self.address = address
        self.nodes: list[dict[str, Any]] = ray.nodes()
        self._gone = False
        self._answered = time.monotonic()
        self._stopped = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        return self._gone or time.monotonic() - self._answered > HEAD_TIMEOUT_S

    def stop_watching(self) -> bool:
        """Ends the thread; returns False if it is blocked by the head."""
        self._stopped.set()
        self._thread.join(CONNECT_TIMEOUT_S)
        return not self._thread.is_alive()

    def _watch(self) -> None:
        connection: socket.socket | None = None
        while not self._gone and not self._stopped.wait(WATCH_S):
            try:
                if connection is not None:
                    with connection:
                        self._gone = _is_closed(connection)
                connection = _open_port(self.address)  # new, since Ray closes idle ones
                if not self._gone:
                    self.nodes = ray.nodes()
                    self._answered = time.monotonic()
            except ConnectionRefusedError:
                self._gone = True
            except (OSError, exceptions.RayError):
                connection = None


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed, as when its process ended."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def _is_usable(answer: Any, host: str) -> bool:
    """Waits for `check_node` on a node; False if it has died, UsageError if it cannot be used."""
    try:
        ray.get(answer, timeout=CHECK_TIMEOUT_S)
    except (exceptions.TaskUnschedulableError, exceptions.NodeDiedError):
        return False  # Ray lists dead nodes as alive for some seconds
    except exceptions.RayError as error:
        raise _unusable_node(host, error) from error
    return True


def _connect(address: str) -> None:
    """Connects this process; UsageError if none answers, or it has another token or version."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    missing = "no Ray cluster runs on this host"
    advice = "start one with `ray start --head`, or name another one with --address HOST:PORT"
    if address != "auto":
        missing = f"no Ray cluster answers at {address}"
        try:  # Ray itself retries for a minute
            _open_port(address).close()
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(f"{missing} ({error}): {advice}") from error
        _authenticate(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"{missing}, or it refuses this host's token: {advice}") from error
    except (RuntimeError, exceptions.RayError) as error:
        raise UsageError(
            f"cannot join the Ray cluster at {address}: {_first_line(error)}"
        ) from error


def _authenticate(address: str) -> None:
    """Loads this host's token, which Ray does only for "auto"; UsageError if it is refused."""
    try:
        from ray._private.authentication import authentication_token_setup
        from ray._raylet import GcsClient  # type: ignore[attr-defined]
    except ImportError:  # an older Ray has no tokens
        return
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:  # `ray.init` retries for 20 s and hides the reason
        GcsClient(address=address)
    except exceptions.AuthenticationError as error:
        raise UsageError(
            f"authentication failed: the Ray cluster at {address} asks for a token. Copy "
            "~/.ray/auth_token from the cluster's head to this host, or set RAY_AUTH_TOKEN_PATH"
        ) from error
    except exceptions.RayError:  # `ray.init` will report it
        return


def _open_port(address: str) -> socket.socket:
    """Connects to HOST:PORT."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S)


def _unusable_node(node: str, error: exceptions.RayError) -> Exception:
    """The error to show for a node on which a task failed."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, NodeMismatch):
        return UsageError(str(cause))
    if isinstance(cause, StoreError):
        return StoreError(f"on a Ray node: {cause}")
    return UsageError(
        f"the Ray node {node} failed ({_first_line(cause or error)}): install the same "
        "version of pipeline-bench there"
    )


def _first_line(error: BaseException) -> str:
    return shortened(next(iter(innermost(error)[1].splitlines()), ""))
