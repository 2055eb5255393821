"""Runs jobs elsewhere, several at once, and tries those again whose worker or node is lost.

How a job gets there and what it says on the way is a `Cluster`'s business. Here is what all of them
share: how many are begun, whose news is whose, how often a job is tried, and what is kept when the
grid is stopped.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.draft import Draft, Job
from bench.executors import Watcher
from bench.executors.local import cut_off
from bench.messages import Done, EpochDone
from bench.record import Failure, Record

TRIES = 3

Ticket = Any  # what a cluster knows a begun job by; can be a key


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker of a job, or its node, is gone."""

    reason: str


News = tuple[Ticket, EpochDone | Done | Lost]


class Cluster(Protocol):
    """Where jobs are sent to."""

    def room(self) -> int:
        """How many jobs it can train at once, those begun included.

        Raises:
            UsageError: It has had no room at all for too long.
        """
        ...

    def begin(self, job: Job) -> Ticket:
        """Sends a job there."""
        ...

    def news(self, tickets: Sequence[Ticket]) -> list[News]:
        """What has come of these since; waits a moment when there is nothing.

        After `Done` or `Lost` a ticket is not asked for again.

        Raises:
            UsageError: A node cannot be used.
        """
        ...

    def stop(self, tickets: Sequence[Ticket]) -> None:
        """Ends these jobs; none of their processes is left."""
        ...


@dataclass(kw_only=True)
class _Begun:
    """A job on its way."""

    draft: Draft
    tries: int = 1


@dataclass(kw_only=True)
class RemoteExecutor:
    """Runs as many jobs at once as the cluster has room for; see `Executor`."""

    cluster: Cluster
    _begun: dict[Ticket, _Begun] = field(default_factory=dict)
    _ended: list[Record] = field(default_factory=list)

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """One record a job, as they end; see `Executor.run`."""
        source, more = iter(jobs), True
        try:
            while more or self._begun:
                more = more and self._fill(source, watcher)
                for ticket, message in self.cluster.news(list(self._begun)) if self._begun else ():
                    self._heed(ticket, message, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            self.cluster.stop(list(self._begun))

    def interrupted(self) -> list[Record]:
        """What had ended but was not yielded, then one record a job that was cut off."""
        return [*self._ended, *(cut_off(begun.draft) for begun in self._begun.values())]

    def _fill(self, source: Iterator[Job], watcher: Watcher) -> bool:
        """Begins as many jobs as there is room for; whether there may be more."""
        room = self.cluster.room()
        while len(self._begun) < room:
            job = next(source, None)
            if job is None:
                return False
            self._begun[self.cluster.begin(job)] = _Begun(draft=Draft(job=job))
            watcher.started(job)
        return True

    def _heed(self, ticket: Ticket, message: EpochDone | Done | Lost, watcher: Watcher) -> None:
        begun = self._begun[ticket]
        match message:
            case EpochDone(point=point, memory=memory):
                begun.draft.curve.append(point)
                if memory is not None:
                    watcher.memory(memory)
                watcher.epoch(begun.draft.job, point)
            case Done(record=record):
                del self._begun[ticket]
                self._ended.append(record)
            case Lost(reason=reason):
                del self._begun[ticket]
                self._lost(begun, reason, watcher)

    def _lost(self, begun: _Begun, reason: str, watcher: Watcher) -> None:
        job = begun.draft.job
        if begun.tries >= TRIES:
            reason = f"lost {begun.tries} times, the last time because {reason}"
            error = Failure(type="WorkerLost", message=reason)
            self._ended.append(begun.draft.record("crashed", error))
            return
        error = Failure(type="WorkerLost", message=reason)
        watcher.lost(begun.draft.record("interrupted", error))
        ticket = self.cluster.begin(job)
        self._begun[ticket] = _Begun(draft=Draft(job=job), tries=begun.tries + 1)


__all__ = ["Cluster", "Lost", "News", "RemoteExecutor", "Ticket", "TRIES"]
