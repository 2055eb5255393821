"""The watches beside the training clock: what processor and GPU did while it ran.

Peak memory of this process and of the device, over one run.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bench.machine.clock import TrainingClock
from bench.machine.cpu import CpuWatch, OtherRunsWatch
from bench.machine.gpu import GpuState, GpuUnreadable, GpuWatch
from bench.record import Conditions, Memory


class MachineMonitor:
    """Looks at the machine around each span of the training clock.

    A GPU that cannot be asked is said so in the run's log, and its figures stay unknown.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = gpu_watch(device)
        self._cpu = CpuWatch()
        self._neighbours = OtherRunsWatch()

    @contextmanager
    def running(self, clock: TrainingClock) -> Iterator[None]:
        """A span of the training clock."""
        if self._gpu is not None:
            self._gpu.begin()
        with clock.running():
            yield
        if self._gpu is not None:
            self._gpu.end()
        self._neighbours.look()

    def energy_j(self) -> float | None:
        """Used by the GPU in the spans."""
        return self._gpu.state.energy_j if self._gpu else None

    def conditions(self, train_s: float) -> Conditions:
        """Up to now.

        Args:
            train_s: The training clock.
        """
        shares = self._cpu.shares()
        state = self._gpu.state if self._gpu else GpuState()
        return Conditions(
            power_w=state.energy_j / train_s if state.energy_j and train_s else None,
            sm_mhz=statistics.median(state.sm_mhz) if state.sm_mhz else None,
            temperature_c=state.temperature_c,
            hot_s=state.hot_s,
            slowed=tuple(state.slowed),
            gpu_others=state.others if self._gpu else None,
            cpu_others_pct=shares.others if shares else None,
            cpu_idle_pct=shares.idle if shares else None,
            cpu_stolen_pct=shares.stolen if shares else None,
            cpu_waited_pct=shares.waited if shares else None,
            neighbours=self._neighbours.count(),
        )


def gpu_watch(device: torch.device) -> GpuWatch | None:
    """The watch of a GPU; None for a CPU, and where NVML does not answer."""
    if device.type != "cuda":
        return None
    try:
        return GpuWatch.find(str(torch.cuda.get_device_properties(device).uuid))
    except GpuUnreadable as error:
        print(f"power, clocks, heat and neighbours of the GPU are unknown: {error}", flush=True)
        return None


_GIB = 2**30


def reset_peaks(device: torch.device) -> None:
    """Starts a new peak. Where the system cannot reset the host's, it stays the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peaks(device: torch.device) -> Memory:
    """Peaks since `reset_peaks`, in GiB."""
    if device.type != "cuda":
        return Memory(host_gib=_host_gib())
    free, total = torch.cuda.mem_get_info(device)
    return Memory(
        host_gib=_host_gib(),
        torch_gib=torch.cuda.max_memory_allocated(device) / _GIB,
        device_gib=(total - free) / _GIB,
    )


def _host_gib() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / _GIB
    return None
