"""Peak memory of one run, on the host and on a GPU; a worker that is stopped while it trains."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor
from bench.job import Job
from bench.machine import monitor
from bench.record import Memory, Point
from tests.executors.fake_cluster import tiny_job

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_host_peak_includes_freed_memory() -> None:
    monitor.reset_peaks(CPU)
    before = monitor.peaks(CPU).host_gib
    torch.ones(2**27 // 4)  # an eighth of a GiB, gone at once
    after = monitor.peaks(CPU).host_gib
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(0.125, abs=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_load_of_the_cpu_is_known_even_after_a_short_run() -> None:
    """A net that trains for a tenth of a second is disturbed by other work as well."""
    assert monitor.MachineMonitor(CPU).conditions(train_s=0.1).cpu_others_pct is not None


def test_the_host_peak_is_unknown_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(Path, "write_text", missing)
    monitor.reset_peaks(CPU)
    assert monitor.peaks(CPU) == Memory()


def test_peaks_are_in_kibibytes_and_a_cpu_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "VmPeak: 9 kB\nVmHWM:\t 1048576 kB\n")
    assert monitor.peaks(CPU).host_gib == 1.0
    monkeypatch.setattr(Path, "read_text", lambda path: "Name: x\n")
    assert monitor.peaks(CPU).host_gib is None
    memory = monitor.PeakMemory(CPU)
    with memory.excluded():
        pass
    peaks = memory.peaks()
    assert (peaks.torch_gib, peaks.device_gib) == (None, None)


class MadeAllocator:
    """A fake of torch's allocator, in GiB; freed blocks stay reserved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated = self.peak = self.reserved = 0
        for name, answer in {
            "memory_allocated": lambda device: self.allocated * monitor.GIB,
            "max_memory_allocated": lambda device: self.peak * monitor.GIB,
            "mem_get_info": lambda device: ((80 - self.reserved) * monitor.GIB, 80 * monitor.GIB),
            "reset_peak_memory_stats": self._reset,
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def _reset(self, device: Any) -> None:
        self.peak = self.allocated

    def allocate(self, gib: int) -> None:
        self.allocated += gib
        self.peak = max(self.peak, self.allocated)
        self.reserved = max(self.reserved, self.allocated)


def test_the_gpu_peak_leaves_out_excluded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = MadeAllocator(monkeypatch)
    memory = monitor.PeakMemory(GPU)
    allocator.allocate(3)  # the net
    with memory.excluded():  # a second optimizer and its graphs: 7 GiB, of which 5 stay
        allocator.allocate(7)
        allocator.allocate(-2)
    allocator.allocate(4)  # the run's optimizer
    assert memory.peaks().device_gib == 12 - 5
    with memory.excluded():
        allocator.allocate(9)
        allocator.allocate(-9)
    assert memory.peaks().torch_gib == 7, "a peak before an excluded block is kept"


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
@pytest.mark.slow
def test_the_times_of_a_stopped_worker_are_suspect(tmp_path: Path) -> None:
    before = set(psutil.Process().children())

    def stop(job: Job, point: Point, memory: Memory | None) -> None:
        if point.epoch == 1:
            (worker,) = set(psutil.Process().children()) - before
            time.sleep(min(1.0, point.train_s / 3))  # into the second epoch
            worker.suspend()
            time.sleep(4.0)
            worker.resume()

    watcher = Watcher(started=lambda job: None, epoch=stop)
    job = tiny_job(tmp_path)
    long = replace(job, run=replace(job.run, cell=replace(job.run.cell, train_images=8000)))
    (record,) = LocalExecutor(timeout_s=120.0).run([long], watcher)
    assert record.status == "ok"
    assert record.conditions.paused_s is not None
    assert 3.0 < record.conditions.paused_s < 10.0
    assert not record.times_trusted
    reasons = [text for text in record.timing_suspect if "the process did not run for" in text]
    assert len(reasons) == 1
