"""The training clock, pauses of the process, and counters of what torch.compile builds."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CACHE_COUNTERS = ("hit", "miss")
BEAT_S = 0.1
MIN_PAUSE_S = 1.0  # shorter gaps are delays of the scheduler


class TrainingClock:
    """Adds up spans of training, by wall clock and, on a GPU, by CUDA events.

    The device is idle at the start and end of each span, so that it includes all its work. Unlike
    the wall clock, events miss the host's time before the first launch.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.wall_s = 0.0
        self.device_s: float | None = 0.0 if device.type == "cuda" else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts the `with` block as a span."""
        synchronize(self._device)
        begin, end = self._event(), self._event()
        start = time.perf_counter()
        if begin is not None:
            begin.record()
        try:
            yield
        finally:
            if end is not None:
                end.record()
            synchronize(self._device)
            self.wall_s += time.perf_counter() - start
            if begin is not None and end is not None and self.device_s is not None:
                self.device_s += begin.elapsed_time(end) / 1000.0

    def _event(self) -> torch.cuda.Event | None:
        if self._device.type != "cuda":
            return None
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PauseWatch:
    """Finds time in which this process did not run: it was stopped, or its machine was suspended.

    A thread wakes up at regular intervals. In a long gap between two beats, either another thread
    kept it from running, which takes CPU time, or none ran.

    Args:
        paused_s: Seconds of all pauses so far.
    """

    def __init__(self) -> None:
        self.paused_s = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches during the `with` block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event) -> None:
        over, before_s, cpu_before_s = False, boot_time_s(), time.process_time()
        while not over:
            over = ended.wait(BEAT_S)
            now_s, cpu_s = boot_time_s(), time.process_time()
            gap_s = now_s - before_s - BEAT_S
            if gap_s - (cpu_s - cpu_before_s) > MIN_PAUSE_S:
                self.paused_s += gap_s
            before_s, cpu_before_s = now_s, cpu_s


def boot_time_s() -> float:
    """A clock that continues while the machine is suspended, which `perf_counter` does not."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class CompileWatch:
    """Counts the graphs that torch.compile has built in this process."""

    def __init__(self) -> None:
        self._before = _graphs()

    def new_graphs(self) -> int:
        """Graphs built since the last call, or since this watch was created."""
        before, self._before = self._before, _graphs()
        return self._before - before


def cache_counts() -> Counter[str]:
    """Hits and misses ("hit", "miss") of torch.compile's cache on disk in this process."""
    from torch._dynamo.utils import counters

    return Counter({name: counters["inductor"][f"fxgraph_cache_{name}"] for name in CACHE_COUNTERS})


def _graphs() -> int:
    dynamo = sys.modules.get("torch._dynamo.utils")  # slow to import, and not used before
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0
