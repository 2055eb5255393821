"""Who runs the jobs: one module each, all giving records of the same worker."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from bench.draft import Job
from bench.record import Memory, Point, Record


def _unwatched(peak: Memory) -> None:
    """For those who do not ask."""


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Called while jobs run, for the live view; `memory` before the epoch it was read after."""

    started: Callable[[Job], None]
    epoch: Callable[[Job, Point], None]
    memory: Callable[[Memory], None] = _unwatched


class Executor(Protocol):
    """Runs jobs and yields their records as they end, in any order."""

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """One record a job, whatever happens to it; a job is asked for when it can begin.

        Closing the iterator stops the present job, yields nothing more for it, and leaves no
        process behind; `interrupted` then gives its record.
        """
        ...
