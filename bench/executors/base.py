"""Who runs the jobs: one module each, all giving records of the same worker."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from bench.job import Job
from bench.record import Memory, Point, Record


def _unwatched(seen: Memory | Record) -> None:
    """For those who do not ask."""


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Called while jobs run, always by the thread that runs the executor.

    Args:
        started: Once a job, however often it is tried.
        epoch: After each epoch; from the first on again when a job is tried again.
        memory: Just before the epoch that it was read after.
        lost: What is left of a try whose worker or node is gone; the job is tried again.
    """

    started: Callable[[Job], None]
    epoch: Callable[[Job, Point], None]
    memory: Callable[[Memory], None] = _unwatched
    lost: Callable[[Record], None] = _unwatched


class Executor(Protocol):
    """Runs jobs, several at once or not, and yields their records as they end, in any order."""

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """One record a job, whatever happens to it; a job is asked for when it can begin.

        Closing the iterator stops the present jobs, yields nothing more for them, and leaves no
        process behind; `interrupted` then gives their records.
        """
        ...

    def interrupted(self) -> list[Record]:
        """What had not been yielded when the iterator was closed: one record a job begun."""
        ...
