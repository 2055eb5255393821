"""What a GPU did while the clock ran: energy, clocks, heat, throttling, other processes.

NVML tells (package nvidia-ml-py). It is asked between spans of the training clock, never in one;
what has to be known of the time in between are counters.
"""

import os
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Self

# The reasons for low clocks that no run asked for, and their words. A power cap is no fault of the
# machine: it is how fast this card may go.
SLOWED = {
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "heat (hardware)",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


class GpuUnreadable(RuntimeError):
    """NVML cannot be asked; the message says why."""


@dataclass(kw_only=True)
class GpuState:
    """What spans of the training clock added up to; None and empty for what NVML does not tell.

    Args:
        energy_j: Used in the spans, by the whole device.
        sm_mhz: Clock of the multiprocessors at the end of each span.
        temperature_c: The highest at the end of a span.
        hot_s: Time in the spans at a lower clock because of heat.
        slowed: Reasons for low clocks seen at the end of a span.
        others: The most other processes that held the device at once.
    """

    energy_j: float | None = None
    sm_mhz: list[int] = field(default_factory=list)
    temperature_c: int | None = None
    hot_s: float | None = None
    slowed: list[str] = field(default_factory=list)
    others: int = 0


class GpuWatch:
    """Asks NVML about one device.

    Args:
        nvml: The module `pynvml`, already initialised.
        handle: The device.
    """

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.state = GpuState()
        self._energy_mj: int | None = None
        self._hot_ns: int | None = None

    @classmethod
    def find(cls, uuid: str) -> Self:
        """The watch of a device by its UUID, as torch's device properties give it.

        Raises:
            GpuUnreadable: The package or the driver's library is missing or refuses.
        """
        try:
            import pynvml
        except ImportError as error:
            raise GpuUnreadable("nvidia-ml-py is not installed") from error
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        except pynvml.NVMLError as error:
            raise GpuUnreadable(f"NVML: {error}") from error
        return cls(pynvml, handle)

    def begin(self) -> None:
        """Just before a span."""
        self._energy_mj, self._hot_ns = self._energy(), self._heat()

    def end(self) -> None:
        """Just after it, the device still warm."""
        energy_mj, hot_ns = self._energy(), self._heat()
        state = self.state
        if energy_mj is not None and self._energy_mj is not None:
            state.energy_j = (state.energy_j or 0.0) + (energy_mj - self._energy_mj) / 1000.0
        if hot_ns is not None and self._hot_ns is not None:
            state.hot_s = (state.hot_s or 0.0) + (hot_ns - self._hot_ns) / 1e9
        clock = self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        if clock is not None:
            state.sm_mhz.append(int(clock))
        heat = self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        if heat is not None:
            state.temperature_c = max(int(heat), state.temperature_c or 0)
        for reason in self._reasons():
            if reason not in state.slowed:
                state.slowed.append(reason)
        state.others = max(state.others, self._others())

    def _energy(self) -> int | None:
        found = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else int(found)

    def _heat(self) -> int | None:
        found = self._ask("nvmlDeviceGetViolationStatus", self._nvml.NVML_PERF_POLICY_THERMAL)
        return None if found is None else int(found.violationTime)

    def _reasons(self) -> list[str]:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            return []
        return [word for name, word in SLOWED.items() if bits & getattr(self._nvml, name)]

    def _others(self) -> int:
        """In a container the numbers of processes are the host's: one of them is then this one."""
        found = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        pids = {process.pid for process in found}
        return len(pids - {os.getpid()}) if os.getpid() in pids else max(0, len(pids) - 1)

    def _ask(self, question: str, *arguments: Any) -> Any:
        """An answer, or None where this device or driver has none."""
        try:
            return getattr(self._nvml, question)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None
