"""State of the GPU during training: energy, clocks, heat, throttling, other processes.

NVML (package nvidia-ml-py) is queried only between spans of the training clock; its counters cover
the spans themselves.
"""

import os
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Self

RESOLVABLE_S = 1.0  # span of which the energy is known: the counter changes every 20 to 100 ms

# Reasons for low clocks that count as disturbances; a power cap is normal.
SLOWED = {
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "heat (hardware)",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


def set_up_gpu() -> None:
    """Lets cuDNN time its algorithms per shape, and matrix products use TF32 as convolutions do."""
    import torch  # late import: the main process reads the state of a GPU without torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")


class GpuUnreadable(RuntimeError):
    """NVML can't be queried; the message says why."""


@dataclass(kw_only=True)
class GpuState:
    """Totals over the spans of the training clock; None or empty if NVML does not report them.

    Args:
        energy_j: Energy used by the whole device; None if a span was shorter than `RESOLVABLE_S`.
        sm_mhz: Clock rate of the multiprocessors at the end of each span.
        temperature_c: Highest temperature at the end of a span.
        hot_s: Time of thermal throttling.
        slowed: Reasons for throttling at the end of a span.
        others: Largest number of other processes seen at once.
    """

    energy_j: float | None = None
    sm_mhz: list[int] = field(default_factory=list)
    temperature_c: int | None = None
    hot_s: float | None = None
    slowed: list[str] = field(default_factory=list)
    others: int = 0


class GpuWatch:
    """Observes one device with the initialised module `pynvml`."""

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.state = GpuState()
        self._begun_s = 0.0
        self._resolved = True  # whether every span was long enough for the energy counter
        self._energy_mj: int | None = None
        self._hot_ns: int | None = None

    @classmethod
    def find(cls, uuid: str) -> Self:
        """The watch of the device with this UUID (from torch's device properties).

        Raises:
            GpuUnreadable: The package or the driver's library is missing or fails.
        """
        try:
            import pynvml
        except ImportError as error:
            raise GpuUnreadable("nvidia-ml-py is not installed") from error
        try:
            pynvml.nvmlInit()
            return cls(pynvml, _handle(pynvml, uuid))
        except pynvml.NVMLError as error:
            raise GpuUnreadable(f"NVML: {error}") from error

    def begin(self) -> None:
        """Call just before a span."""
        self._energy_mj, self._hot_ns = self._energy(), self._heat()
        self._begun_s = time.monotonic()

    def end(self) -> None:
        """Call just after a span."""
        energy_mj, hot_ns = self._energy(), self._heat()
        state = self.state
        if time.monotonic() - self._begun_s < RESOLVABLE_S:
            self._resolved, state.energy_j = False, None
        if self._resolved and energy_mj is not None and self._energy_mj is not None:
            state.energy_j = (state.energy_j or 0.0) + (energy_mj - self._energy_mj) / 1000.0
        if hot_ns is not None and self._hot_ns is not None:
            state.hot_s = (state.hot_s or 0.0) + (hot_ns - self._hot_ns) / 1e9
        clock = self._query("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        if clock is not None:
            state.sm_mhz.append(int(clock))
        heat = self._query("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        if heat is not None:
            state.temperature_c = max(int(heat), state.temperature_c or 0)
        for reason in self._reasons():
            if reason not in state.slowed:
                state.slowed.append(reason)
        state.others = max(state.others, self._others())

    def _energy(self) -> int | None:
        found = self._query("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else int(found)

    def _heat(self) -> int | None:
        found = self._query("nvmlDeviceGetViolationStatus", self._nvml.NVML_PERF_POLICY_THERMAL)
        return None if found is None else int(found.violationTime)

    def _reasons(self) -> list[str]:
        bits = self._query("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            return []
        return [word for name, word in SLOWED.items() if bits & getattr(self._nvml, name)]

    def _others(self) -> int:
        """In a container NVML reports the host's pids, which do not include our own pid."""
        found = self._query("nvmlDeviceGetComputeRunningProcesses") or []
        pids = {process.pid for process in found}
        return len(pids - {os.getpid()}) if os.getpid() in pids else max(0, len(pids) - 1)

    def _query(self, function: str, *arguments: Any) -> Any:
        """The result, or None if the device or driver does not support it."""
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def _handle(nvml: ModuleType, uuid: str) -> Any:
    """The device with this UUID; torch omits its prefix, which differs for MIG instances."""
    plain = uuid.removeprefix("GPU-").removeprefix("MIG-")
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{plain}")
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetHandleByUUID(f"MIG-{plain}")
