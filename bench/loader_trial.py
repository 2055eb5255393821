"""One series of `bench loaders` in the making, and the child process that makes it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.executors.local import Worker, WorkerLost
from bench.files import slug
from bench.loader_messages import Failed, Order, read_reply
from bench.loader_record import Series
from bench.record import Status
from bench.signals import stops_held
from bench.store import Store

ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)


class ChildFailed(RuntimeError):
    """A child could not do what it was told.

    Args:
        status: How it failed.
        reason: Why, in one sentence.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(kw_only=True)
class Trial:
    """A series in the making, and the child that makes it, if it has one."""

    series: Series
    child: Worker | None = None

    def start(self, store: Store, scratch: Path) -> None:
        """Starts the child; a series that is lost already needs none."""
        if self.series.status != "ok":
            return
        name = slug(f"loaders {self.series.pipeline} {self.series.batch_size}")
        with stops_held():
            self.child = start_child(store, name, scratch / name)

    def step(self, order: Order | None, kind: type[ReplyT], timeout_s: float) -> ReplyT | None:
        """What the child answers; None if the series was lost, now or before."""
        if self.child is None:
            return None
        try:
            return ask(self.child, order, kind, timeout_s)
        except ChildFailed as error:
            self.series = replace(self.series, status=error.status, reason=error.reason)
            self.stop()
            return None

    def stop(self) -> None:
        """Ends the child; safe to call twice."""
        if self.child is not None:
            with stops_held():
                self.child.stop()
            self.child = None


def start_child(store: Store, name: str, compiled_code: Path) -> Worker:
    """Starts a child whose output goes to the log of that name."""
    settings = {"TORCHINDUCTOR_CACHE_DIR": str(compiled_code)}
    return Worker.start(
        name, store.fresh_log(name), module="bench.loader_worker", settings=settings
    )


def ask(child: Worker, order: Order | None, kind: type[ReplyT], timeout_s: float) -> ReplyT:
    """Gives an order, if there is one, and waits for the reply.

    Raises:
        ChildFailed: It died, took too long, or says that it cannot.
    """
    if order is not None:
        child.send(order)
    try:
        reply = child.read(time.monotonic() + timeout_s, read_reply)
    except TimeoutError:
        reason = f"no answer came within {timeout_s:g} s; it was stopped"
        raise ChildFailed("timeout", reason) from None
    except WorkerLost as error:
        raise ChildFailed("crashed", f"{error}; logs/{child.key}.log") from error
    if isinstance(reply, Failed):
        raise ChildFailed(reply.status, reply.reason)
    if not isinstance(reply, kind):
        raise ChildFailed("crashed", f"it answered {type(reply).__name__}, not {kind.__name__}")
    return reply
