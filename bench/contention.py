"""How much of the processor others used while a run trained; known on Linux only.

What is compared are the cores that this process may use: work on others disturbs no run.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LEAST_TICKS = 100  # a second of one core; in less the ticks are too coarse


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Of the usable cores, in percent.

    Args:
        others: Used by processes of other sessions.
        idle: Used by nobody.
        stolen: Taken by the machine that this one is a guest of.
        waited: Of the time in which this process had work, the part in which it had no core; None
            where the system does not count it.
    """

    others: float
    idle: float
    stolen: float
    waited: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """Clock ticks since the machine started, over all usable cores."""

    busy: int
    idle: int
    stolen: int
    own: int
    ran_ns: int = 0
    waited_ns: int = 0


class CpuWatch:
    """Looks at the processor when it is made and when it is asked.

    Own are the processes of this session and the dead ones that they waited for: a run's worker has
    a session of its own, and a data loader's processes belong to it.
    """

    def __init__(self) -> None:
        self._before = read_ticks()

    def shares(self) -> Shares | None:
        """Since the watch was made; None where the system does not tell, and after too short."""
        before, now = self._before, read_ticks()
        if before is None or now is None:
            return None
        busy, idle = now.busy - before.busy, now.idle - before.idle
        stolen, own = now.stolen - before.stolen, now.own - before.own
        whole = busy + idle + stolen
        if whole < LEAST_TICKS:
            return None
        ran_ns, waited_ns = now.ran_ns - before.ran_ns, now.waited_ns - before.waited_ns
        return Shares(
            others=100.0 * max(0, busy - own) / whole,
            idle=100.0 * idle / whole,
            stolen=100.0 * stolen / whole,
            waited=100.0 * waited_ns / (ran_ns + waited_ns) if ran_ns > 0 else None,
        )


def read_ticks(proc: Path = PROC) -> Ticks | None:
    """The counters as they stand; None where there are none.

    Source: proc_stat(5) and proc_pid_stat(5) of the Linux manual pages.
    """
    try:
        lines = (proc / "stat").read_text().splitlines()
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    except (OSError, AttributeError):  # no Linux
        return None
    busy = idle = stolen = 0
    for line in lines:
        name, *numbers = line.split()
        if name in cores:
            user, nice, system, at_rest, waiting, interrupt, soft, taken = map(int, numbers[:8])
            busy += user + nice + system + interrupt + soft
            idle += at_rest + waiting
            stolen += taken
    own = session_ticks(proc, os.getsid(0))
    ran_ns, waited_ns = thread_ns(proc / "self" / "task")
    return Ticks(busy=busy, idle=idle, stolen=stolen, own=own, ran_ns=ran_ns, waited_ns=waited_ns)


def thread_ns(tasks: Path) -> tuple[int, int]:
    """Nanoseconds that the threads of a process ran, and that they waited for a core; 0 if unknown.

    Source: "schedstats" of the Linux kernel's documentation of its scheduler.
    """
    ran = waited = 0
    for path in tasks.glob("*/schedstat"):
        try:
            times = path.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        ran, waited = ran + int(times[0]), waited + int(times[1])
    return ran, waited


def session_ticks(proc: Path, session: int) -> int:
    """What the processes of a session have used, and the children that they waited for."""
    return sum(one.ticks for one in processes(proc) if one.session == session)


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process.

    Args:
        ticks: That it has used, and its children that it waited for.
    """

    pid: int
    session: int
    ticks: int


def processes(proc: Path) -> Iterator[Process]:
    """Those there are; none where the system does not show them."""
    for folder in proc.iterdir() if proc.is_dir() else ():
        if not folder.name.isdecimal():
            continue
        try:
            # The name before the last bracket may hold anything, spaces and brackets too.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):  # it ended meanwhile
            continue
        ticks = sum(map(int, fields[11:15]))
        yield Process(pid=int(folder.name), session=int(fields[3]), ticks=ticks)
