"""The CPU during a run: load of other processes, other runs on the same host, number of threads.

Load and other runs are known on Linux only. Only the cores that this process may use count, as work
on others does not disturb a run.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import architectures
from bench.cell import Cell
from bench.process import usable_cores

MIN_CPU_S = 1.0  # total over the cores; the kernel's counters are too coarse for less


@dataclass(frozen=True, kw_only=True)
class CpuShares:
    """Shares of the usable cores' time.

    Args:
        others_pct: Share used by processes of other sessions.
        stolen_pct: Share taken by the host of a virtual machine.
        waited_pct: Share of its runnable time that this session waited for a core; None if unknown.
    """

    others_pct: float
    idle_pct: float
    stolen_pct: float
    waited_pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class CpuCounters:
    """CPU time since the machine started, over all usable cores.

    Args:
        own_s: CPU time of this session.
        threads_ns: Nanoseconds that each thread of this session ran, and waited for a core.
    """

    busy_s: float
    idle_s: float
    stolen_s: float
    own_s: float
    threads_ns: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class CpuWatch:
    """Measures the CPU from its creation on.

    A run's worker leads a session that includes its data loader's processes; all other processes
    count as others.
    """

    def __init__(self) -> None:
        self._start, self._start_s = read_counters(), time.monotonic()

    def wait(self) -> None:
        """Waits, a second at most, until enough time has passed for `shares`."""
        needed_s = 1.1 * MIN_CPU_S / usable_cores()
        if self._start is not None:
            time.sleep(max(0.0, needed_s - (time.monotonic() - self._start_s)))

    def shares(self) -> CpuShares | None:
        """Shares since the watch was created; None if unknown or if too little time has passed."""
        start, now = self._start, read_counters()
        if start is None or now is None:
            return None
        busy_s, idle_s = now.busy_s - start.busy_s, now.idle_s - start.idle_s
        stolen_s, own_s = now.stolen_s - start.stolen_s, now.own_s - start.own_s
        total_s = busy_s + idle_s + stolen_s
        if total_s < MIN_CPU_S:
            return None
        return CpuShares(
            others_pct=100.0 * max(0.0, busy_s - own_s) / total_s,
            idle_pct=100.0 * idle_s / total_s,
            stolen_pct=100.0 * stolen_s / total_s,
            waited_pct=_waited_pct(start.threads_ns, now.threads_ns),
        )


def _waited_pct(
    start: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]
) -> float | None:
    """The share for threads that still run; the counters of ended threads are lost."""
    ran_ns = waited_ns = 0
    for thread, (ran, waited) in now.items():
        ran_before, waited_before = start.get(thread, (0, 0))
        ran_ns += max(0, ran - ran_before)
        waited_ns += max(0, waited - waited_before)
    return 100.0 * waited_ns / (ran_ns + waited_ns) if ran_ns > 0 else None


def read_counters() -> CpuCounters | None:
    """The current counters; None on systems other than Linux."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = os.sched_getaffinity(0)
    cores = [times for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in usable]
    session = os.getsid(0)
    own = [process for process in processes() if process.session == session]
    return CpuCounters(
        busy_s=sum(c.user + c.nice + c.system + c.irq + c.softirq for c in cores),
        idle_s=sum(c.idle + c.iowait for c in cores),
        stolen_s=sum(c.steal for c in cores),
        own_s=sum(process.cpu_s for process in own),
        threads_ns=_thread_times(process.pid for process in own),
    )


def _thread_times(pids: Iterable[int]) -> dict[str, tuple[int, int]]:
    """Source: "schedstats" in the kernel's documentation of the scheduler."""
    times = {}
    for path in (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")):
        with suppress(OSError):  # the thread has ended
            ran, waited, _ = path.read_text().split()
            times[path.parent.name] = int(ran), int(waited)
    return times


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process of this host; `cpu_s` includes the children it has waited for."""

    pid: int
    session: int
    name: str
    cpu_s: float


def processes() -> Iterator[Process]:
    """All processes visible to this one."""
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        with suppress(OSError):  # it has ended
            if times is not None:
                yield Process(
                    pid=process.pid,
                    session=os.getsid(process.pid),
                    name=process.info["name"] or "",
                    cpu_s=times.user + times.system + times.children_user + times.children_system,
                )


RUN_IN_PROGRESS = "bench-at-work"  # name of a worker's process during a job; Linux keeps 15 letters
BUSY_SHARE = 0.05  # of one core, since it was first seen
MIN_WORKER_CPU_S = 0.05


@contextmanager
def run_in_progress() -> Iterator[None]:
    """Renames this process, so that other runs on the host see that it is busy."""
    file, before = Path("/proc/self/comm"), ""
    with suppress(OSError):  # not Linux
        before = file.read_text().strip()
        file.write_text(RUN_IN_PROGRESS)
    try:
        yield
    finally:
        with suppress(OSError):
            file.write_text(before)


class OtherRunsWatch:
    """Counts the other workers on this host that used the CPU; a waiting one disturbs no run."""

    def __init__(self) -> None:
        self._first_seen: dict[int, tuple[float, float]] = {}
        self._busy: set[int] = set()
        self.update()

    def update(self) -> None:
        """Checks the CPU time of every other worker."""
        now = time.monotonic()
        for session, cpu_s in other_workers_cpu_s().items():
            since, cpu_s_before = self._first_seen.setdefault(session, (now, cpu_s))
            if cpu_s - cpu_s_before >= max(MIN_WORKER_CPU_S, BUSY_SHARE * (now - since)):
                self._busy.add(session)

    def count(self) -> int | None:
        """Number of workers that were busy since the watch was created; None if unknown."""
        return len(self._busy) if psutil.LINUX else None


def other_workers_cpu_s() -> dict[int, float]:
    """CPU time of the other busy workers and their descendants, by session."""
    everything = list(processes())
    own = os.getsid(0)
    cpu_s = {
        process.session: 0.0
        for process in everything
        if process.pid == process.session != own and process.name == RUN_IN_PROGRESS
    }
    for process in everything:
        if process.session in cpu_s:
            cpu_s[process.session] += process.cpu_s
    return cpu_s


LIGHT_FLOPS = 200_000_000  # per image at width 1


@contextmanager
def training_threads(cell: Cell) -> Iterator[None]:
    """One thread for light nets at scale "cpu", torch's default for all others.

    The layers of a light net at an eighth of its width are too small to parallelize, as
    `tests/benchmarks/cpu_settings.py` measured on two cores. The number is fixed, since it affects
    the last bits of sums.
    """
    with set_threads(1 if _is_light(cell) else None):
        yield


@contextmanager
def evaluation_threads(cell: Cell) -> Iterator[None]:
    """All cores for evaluation, which is not timed and has large batches."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(requested) if requested.isdigit() else usable_cores()
    with set_threads(all_cores if _is_light(cell) else None):
        yield


def _is_light(cell: Cell) -> bool:
    if cell.device != "cpu" or cell.scale != "cpu":
        return False
    flops = architectures.get(cell.architecture).flops
    return 0 < flops < LIGHT_FLOPS  # 0: unknown


def multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16 natively, by AVX512-BF16 or AMX; False if unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(text.split())


@contextmanager
def set_threads(count: int | None) -> Iterator[None]:
    """Sets torch's number of threads in the `with` block; None keeps it."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
