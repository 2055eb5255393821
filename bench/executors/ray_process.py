"""The process that has Ray: takes a grid's orders, joins the cluster and says what comes of them.

Ray ends the process that it is in when the head of the cluster is gone for a minute or was started
anew, and its calls may wait for good. So it is kept apart from the one that writes records.
"""

import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread
from typing import IO, Any

import msgspec

from bench.errors import UsageError
from bench.executors.protocol import send
from bench.executors.ray_words import (
    Begin,
    Gone,
    Heard,
    Join,
    Order,
    Refused,
    Room,
    Stop,
    Stopped,
    read_order,
)
from bench.executors.remote import Cluster, Lost
from bench.process import die_with_parent
from bench.store.files import StoreError

ASK_S = 1.0
IDLE_S = 0.2
SILENT_S = 40.0  # that the head may not answer; after 60 Ray ends this process
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # those 60


def main() -> None:
    """Serves one grid until its end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the grid's to handle
    die_with_parent()
    words = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ.setdefault(RECONNECT, "300")
    orders = Orders()
    try:
        (join,) = orders.read(wait_s=SILENT_S)
        assert isinstance(join, Join)
        from bench.executors.ray import RayCluster

        cluster = RayCluster.connect(join.address, device=join.device, timeout_s=join.timeout_s)
        Served(cluster=cluster, words=words, address=join.address).serve(orders)
    except EOFError:
        return
    except (UsageError, StoreError) as error:
        refuse(words, error)


def refuse(words: IO[bytes], error: Exception) -> None:
    """Says why there is no going on."""
    send(words, Refused(message=str(error), folder=isinstance(error, StoreError)))


@dataclass(kw_only=True)
class Orders:
    """The lines of standard input, read as they come."""

    _buffer: bytes = b""

    def read(self, wait_s: float) -> Iterator[Order]:
        """Those that have come, or come within some seconds.

        Raises:
            EOFError: The grid is gone.
        """
        if not select.select([0], [], [], wait_s)[0]:
            return
        while b"\n" not in (chunk := os.read(0, 1 << 16)):
            if not chunk:
                raise EOFError
            self._buffer += chunk
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        yield from map(read_order, lines)


@dataclass(kw_only=True)
class Served:
    """A cluster, and what a grid has begun there.

    Args:
        cluster: Of Ray's nodes.
        words: Where to say what comes.
        address: Of the cluster's head.
    """

    cluster: Cluster
    words: IO[bytes]
    address: str
    _begun: dict[Any, int] = field(default_factory=dict)
    _answer: Room | Refused | None = None
    _answered: float = field(default_factory=time.monotonic)

    def serve(self, orders: Orders) -> None:
        """Goes on until the grid is gone; after a refusal it only ends what was begun."""
        Thread(target=self._ask, daemon=True).start()
        refused = False
        while True:
            idle = refused or not self._begun
            for order in orders.read(IDLE_S if idle else 0.0):
                self._heed(order)
            if refused:
                continue
            try:
                self._tell()
            except (UsageError, StoreError) as error:
                refuse(self.words, error)
                refused = True

    def _ask(self) -> None:
        """Asks the head for room again and again; a thread of its own, since it may not answer."""
        while not isinstance(self._answer, Refused):
            try:
                self._answer = Room(jobs=self.cluster.room())
            except UsageError as error:
                self._answer = Refused(message=str(error))
            self._answered = time.monotonic()
            time.sleep(ASK_S)

    def _heed(self, order: Order) -> None:
        match order:
            case Begin(tickets=tickets, jobs=jobs):
                self._begun.update(zip(self.cluster.begin(jobs), tickets, strict=True))
            case Stop(tickets=tickets):
                ended = [key for key, ticket in self._begun.items() if ticket in tickets]
                self.cluster.stop(ended)
                for key in ended:
                    del self._begun[key]
                send(self.words, Stopped())

    def _tell(self) -> None:
        """Says how much room there is, and what has come of the jobs.

        Raises:
            UsageError: The cluster cannot be used any more.
        """
        if isinstance(self._answer, Refused):
            raise UsageError(self._answer.message)
        if time.monotonic() - self._answered > SILENT_S:
            raise UsageError(f"the head of the Ray cluster at {self.address} answers no more")
        if self._answer is not None:
            send(self.words, self._answer)
        for key, message in self.cluster.news(list(self._begun)) if self._begun else ():
            if isinstance(message, Lost):
                send(self.words, Gone(ticket=self._begun.pop(key), reason=message.reason))
                continue
            line = msgspec.Raw(msgspec.json.encode(message))
            send(self.words, Heard(ticket=self._begun[key], line=line))


if __name__ == "__main__":
    main()
