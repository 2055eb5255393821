"""Runs jobs elsewhere, several at once, and tries those again whose worker or node is lost.

How a job gets there and what it says on the way is a `Cluster`'s business. Here is what all of them
share: how many are begun, whose news is whose, how often a job is tried, and what is kept when the
grid is stopped.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from bench.executors.base import Watcher
from bench.executors.local import cut_off
from bench.executors.protocol import Done, EpochDone, Message, Ready
from bench.job import Job, RecordBuilder
from bench.record import Failure, Record

TRIES = 3

Ticket = Any  # what a cluster knows a begun job by; can be a key


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The worker of a job, or its node, is gone."""

    reason: str


Said = Message | Lost
News = tuple[Ticket, Said]


class Cluster(Protocol):
    """Where jobs are sent to."""

    def room(self) -> int:
        """How many jobs it can train at once, those begun included.

        Raises:
            UsageError: It has had no room at all for too long.
        """
        ...

    def begin(self, jobs: Sequence[Job]) -> Sequence[Ticket]:
        """Sends jobs there; a ticket for each.

        Raises:
            UsageError: It does not take them.
        """
        ...

    def news(self, tickets: Sequence[Ticket]) -> list[News]:
        """What has come of these since; waits a moment when there is nothing.

        `Ready` comes first, once the job has begun, and again if the cluster begins it anew.
        After `Done` or `Lost` a ticket is not asked for again.

        Raises:
            UsageError: A node cannot be used.
        """
        ...

    def stop(self, tickets: Sequence[Ticket]) -> None:
        """Ends these jobs; none of their processes is left."""
        ...

    def close(self) -> None:
        """Removes what it needed for jobs; none is begun any more."""
        ...


@dataclass(kw_only=True)
class _Begun:
    """A job on its way."""

    draft: RecordBuilder
    tries: int = 1
    shown: bool = False  # that it is trained
    ready: bool = False  # said by this try


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
                more = more and self._fill(source)
                for ticket, message in self.cluster.news(list(self._begun)) if self._begun else ():
                    if ticket in self._begun:  # else given up meanwhile
                        self._heed(ticket, message, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            self.cluster.stop(list(self._begun))
            self.cluster.close()

    def interrupted(self) -> list[Record]:
        """What had ended but was not yielded, then one record a job that was cut off."""
        cut = [cut_off(begun.draft) for begun in self._begun.values() if begun.shown]
        return [*self._ended, *cut]

    def _fill(self, source: Iterator[Job]) -> bool:
        """Sends as many jobs as there is room for; whether there may be more."""
        room = max(0, self.cluster.room() - len(self._begun))
        jobs = list(islice(source, room))
        self._begin([_Begun(draft=RecordBuilder(job=job)) for job in jobs])
        return len(jobs) == room

    def _begin(self, sent: Sequence[_Begun]) -> None:
        if sent:
            tickets = self.cluster.begin([begun.draft.job for begun in sent])
            self._begun.update(zip(tickets, sent, strict=True))

    def _heed(self, ticket: Ticket, message: Said, watcher: Watcher) -> None:
        begun = self._begun[ticket]
        match message:
            case Lost(reason=reason):
                del self._begun[ticket]
                if (again := self._again(begun, reason, watcher)) is not None:
                    self._begin([again])
                return
            case Ready() if begun.ready:
                reason = "the cluster took it back and began it anew"
                if (again := self._again(begun, reason, watcher)) is not None:
                    self._begun[ticket] = replace(again, ready=True)
                else:
                    del self._begun[ticket]
                    self.cluster.stop([ticket])
                return
        begun.ready = True
        if not begun.shown:
            begun.shown = True
            watcher.started(begun.draft.job)
        if isinstance(message, EpochDone):
            begun.draft.curve.append(message.point)
            if message.memory is not None:
                watcher.memory(message.memory)
            watcher.epoch(begun.draft.job, message.point)
        elif isinstance(message, Done):
            del self._begun[ticket]
            self._ended.append(message.record)

    def _again(self, begun: _Begun, reason: str, watcher: Watcher) -> _Begun | None:
        """The job for one more try; None where it was tried often enough, and is a record now."""
        if begun.tries >= TRIES:
            reason = f"lost {begun.tries} times, the last time because {reason}"
            error = Failure(type="WorkerLost", message=reason)
            self._ended.append(begun.draft.record("crashed", error))
            return None
        error = Failure(type="WorkerLost", message=reason)
        watcher.lost(begun.draft.record("interrupted", error))
        return _Begun(
            draft=RecordBuilder(job=begun.draft.job), tries=begun.tries + 1, shown=begun.shown
        )
