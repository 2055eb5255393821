"""How much of the processor others used while a run trained; known on Linux only.

What is compared are the cores that this process may use: work on others disturbs no run.

Other runs of this suite that worked on the same host meanwhile; known on Linux only.

A worker leads a session of its own, and its process has a name for all to see as long as it does a
job, whoever started it and by whatever executor. One that imports, or waits for a job or its turn,
has not; one that waits in the middle of a job uses no processor and disturbs nobody.

How many threads a run computes with on a CPU.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import architectures
from bench.cell import Cell
from bench.process import usable_cores

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


AT_WORK = "bench-at-work"  # Linux keeps 15 letters
WORKS = 0.05  # of one core, while it was seen
LEAST_WORKER_TICKS = 5  # in less they are too coarse
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class OtherRunsWatch:
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
            least = max(LEAST_WORKER_TICKS, WORKS * (now - since) * TICKS_PER_S)
            if ticks - before >= least:
                self._worked.add(session)

    def count(self) -> int | None:
        """How many worked since the watch was made; None where the system does not tell."""
        return len(self._worked) if (self._proc / "self" / "stat").is_file() else None


@contextmanager
def run_in_progress() -> Iterator[None]:
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
        if one.pid == one.session != own and has_run_in_progress(proc / str(one.pid))
    }
    for one in found:
        if one.session in sessions:
            sessions[one.session] += one.ticks
    return sessions


def has_run_in_progress(folder: Path) -> bool:
    """Whether a process says so."""
    try:
        return (folder / "comm").read_bytes().strip() == AT_WORK.encode()
    except OSError:  # it ended meanwhile
        return False


LIGHT_FLOPS = 200_000_000  # of one image at width 1


@contextmanager
def training_threads(cell: Cell) -> Iterator[None]:
    """One thread for the light nets of scale "cpu", torch's own choice for all others.

    The layers of a light net at an eighth of its width are too small to share: measured by
    `tests/benchmarks/cpu_settings.py` on two cores. Fixed, not measured anew for each run, since
    the number of threads decides the last bits of a sum.
    """
    with set_threads(1 if _is_light(cell) else None):
        yield


@contextmanager
def evaluation_threads(cell: Cell) -> Iterator[None]:
    """All cores inside of `computing`: evaluation is off the clock, and its batches are large."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(asked) if asked.isdigit() else usable_cores()
    with set_threads(all_cores if _is_light(cell) else None):
        yield


def _is_light(cell: Cell) -> bool:
    if cell.device != "cpu" or cell.scale != "cpu":
        return False
    flops = architectures.get(cell.architecture).flops
    return 0 < flops < LIGHT_FLOPS  # 0: nobody has counted them


@contextmanager
def set_threads(count: int | None) -> Iterator[None]:
    """Inside, torch computes with `count` threads; with as many as before where it is None."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
