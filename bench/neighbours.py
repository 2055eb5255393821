"""Other runs of this suite that worked on the same host meanwhile; known on Linux only.

A worker leads a session of its own, and its process has a name for all to see as long as it does a
job, whoever started it and by whatever executor. One that imports, or waits for a job or its turn,
has not; one that waits in the middle of a job uses no processor and disturbs nobody.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.contention import PROC, processes

AT_WORK = "bench-at-work"  # Linux keeps 15 letters
WORKS = 0.05  # of one core, while it was seen
LEAST_TICKS = 5  # in less they are too coarse
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NeighbourWatch:
    """Looks at the workers of this host when it is made and whenever it is told to.

    Args:
        proc: Where the system shows its processes.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._first: dict[int, tuple[float, int]] = {}
        self._worked: set[int] = set()
        self.look()

    def look(self) -> None:
        """Notes what every worker but this one has used so far."""
        now = time.monotonic()
        for session, ticks in worker_ticks(self._proc).items():
            since, before = self._first.setdefault(session, (now, ticks))
            least = max(LEAST_TICKS, WORKS * (now - since) * TICKS_PER_S)
            if ticks - before >= least:
                self._worked.add(session)

    def count(self) -> int | None:
        """How many worked since the watch was made; None where the system does not tell."""
        return len(self._worked) if (self._proc / "self" / "stat").is_file() else None


@contextmanager
def at_work() -> Iterator[None]:
    """While this process, which leads its session, does a job, others see that it does."""
    name, before = PROC / "self" / "comm", ""
    with suppress(OSError):  # no Linux
        before = name.read_text().strip()
        name.write_text(AT_WORK)
    try:
        yield
    finally:
        with suppress(OSError):
            name.write_text(before)


def worker_ticks(proc: Path) -> dict[int, int]:
    """What the sessions of other workers that do a job have used, in clock ticks."""
    found = list(processes(proc))
    own = os.getsid(0)
    sessions = {
        one.session: 0
        for one in found
        if one.pid == one.session != own and is_at_work(proc / str(one.pid))
    }
    for one in found:
        if one.session in sessions:
            sessions[one.session] += one.ticks
    return sessions


def is_at_work(folder: Path) -> bool:
    """Whether a process says so."""
    try:
        return (folder / "comm").read_bytes().strip() == AT_WORK.encode()
    except OSError:  # it ended meanwhile
        return False


__all__ = ["AT_WORK", "NeighbourWatch", "at_work", "is_at_work", "worker_ticks"]
