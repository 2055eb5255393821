"""Monitors CPU, GPU and memory during a run."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from bench.machine.clock import PauseWatch, TrainingClock
from bench.machine.cpu import CpuWatch, OtherRunsWatch
from bench.machine.gpu import GpuState, GpuUnreadable, GpuWatch
from bench.record import Conditions, Memory

GIB = 2**30


class MachineMonitor:
    """Observes the machine around each span of the training clock."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = gpu_watch(device)
        self._cpu = CpuWatch()
        self._other_runs = OtherRunsWatch()
        self._pauses = PauseWatch()

    @contextmanager
    def running(self, clock: TrainingClock) -> Iterator[None]:
        """A span of the training clock."""
        if self._gpu is not None:
            self._gpu.begin()
        with self._pauses.watching(), clock.running():
            yield
        if self._gpu is not None:
            self._gpu.end()
        self._other_runs.update()

    def energy_j(self) -> float | None:
        """Energy that the GPU used in the spans so far."""
        return self._gpu.state.energy_j if self._gpu else None

    def conditions(self, train_s: float) -> Conditions:
        """Everything observed so far; waits a second at most until the load of the CPU is known."""
        self._cpu.wait()
        shares = self._cpu.shares()
        state = self._gpu.state if self._gpu else GpuState()
        return Conditions(
            power_w=state.energy_j / train_s if state.energy_j and train_s else None,
            sm_mhz=statistics.median(state.sm_mhz) if state.sm_mhz else None,
            temperature_c=state.temperature_c,
            hot_s=state.hot_s,
            slowed=tuple(state.slowed),
            gpu_others=state.others if self._gpu else None,
            cpu_others_pct=shares.others_pct if shares else None,
            cpu_idle_pct=shares.idle_pct if shares else None,
            cpu_stolen_pct=shares.stolen_pct if shares else None,
            cpu_waited_pct=shares.waited_pct if shares else None,
            neighbours=self._other_runs.count(),
            paused_s=self._pauses.paused_s or None,
        )


def gpu_watch(device: torch.device) -> GpuWatch | None:
    """The watch of a GPU; None for a CPU or if NVML fails."""
    if device.type != "cuda":
        return None
    try:
        return GpuWatch.find(str(torch.cuda.get_device_properties(device).uuid))
    except GpuUnreadable as error:
        print(f"power, clocks, heat and other users of the GPU are unknown: {error}", flush=True)
        return None


class PeakMemory:
    """Peak memory of a run, without allocations inside `excluded`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak_bytes = 0  # up to the last excluded block
        self._excluded_bytes = 0  # allocated in such blocks and still held
        reset_peaks(device)

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Memory allocated in the `with` block does not count, even while it is held afterwards.

        Memory that torch keeps reserved after it is freed still counts in `device_gib`.
        """
        if self._device.type != "cuda":
            yield
            return
        self._peak_bytes = self._torch_peak_bytes()
        before_bytes = torch.cuda.memory_allocated(self._device)
        try:
            yield
        finally:
            self._excluded_bytes += torch.cuda.memory_allocated(self._device) - before_bytes
            torch.cuda.reset_peak_memory_stats(self._device)

    def peaks(self) -> Memory:
        """Peaks so far; `device_gib` is what the driver reports now."""
        memory = peaks(self._device)
        if memory.device_gib is None:
            return memory
        return replace(
            memory,
            torch_gib=self._torch_peak_bytes() / GIB,
            device_gib=memory.device_gib - self._excluded_bytes / GIB,
        )

    def _torch_peak_bytes(self) -> int:
        peak_bytes = torch.cuda.max_memory_allocated(self._device) - self._excluded_bytes
        return max(self._peak_bytes, peak_bytes)


def reset_peaks(device: torch.device) -> None:
    """Resets the peaks; the host's stays that of the process if the system cannot reset it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peaks(device: torch.device) -> Memory:
    """Peaks since `reset_peaks`."""
    if device.type != "cuda":
        return Memory(host_gib=host_peak_gib())
    free, total = torch.cuda.mem_get_info(device)
    return Memory(
        host_gib=host_peak_gib(),
        torch_gib=torch.cuda.max_memory_allocated(device) / GIB,
        device_gib=(total - free) / GIB,
    )


def host_peak_gib(pid: int | str = "self") -> float | None:
    """Peak resident set since `reset_peaks`; `getrusage` would give that of the whole process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / GIB
    return None
