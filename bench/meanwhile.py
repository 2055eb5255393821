"""The watches beside the training clock: what processor and GPU did while it ran."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.clock import TrainingClock
from bench.contention import CpuWatch
from bench.gpu_state import GpuState, GpuUnreadable, GpuWatch
from bench.neighbours import NeighbourWatch
from bench.record import Conditions


class Meanwhile:
    """Looks at the machine around each span of the training clock.

    A GPU that cannot be asked is said so in the run's log, and its figures stay unknown.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = gpu_watch(device)
        self._cpu = CpuWatch()
        self._neighbours = NeighbourWatch()

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
