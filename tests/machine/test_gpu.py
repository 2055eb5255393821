"""GPU state from NVML, queried before and after spans, with a fake of NVML."""

import os
import sys
from itertools import chain, cycle
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from bench.machine import gpu, monitor
from bench.machine.clock import TrainingClock
from bench.machine.gpu import SLOWED, GpuUnreadable, GpuWatch


class Refused(Exception):
    pass


class MadeNvml(ModuleType):
    """Answers queries from `now`; others are unsupported."""

    NVMLError = Refused
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0
    NVML_PERF_POLICY_THERMAL = 1

    def __init__(self, **now: Any) -> None:
        super().__init__("pynvml")
        self.now = now
        for bit, name in enumerate(SLOWED):
            setattr(self, name, 1 << bit)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)

        def answer(handle: object, *arguments: object) -> Any:
            if name not in self.now:
                raise Refused("not supported")
            return self.now[name]

        return answer

    def nvmlInit(self) -> None:
        if "refuse" in self.now:
            raise Refused(self.now["refuse"])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.now.get("devices", (uuid,)):
            raise Refused("not found")
        return uuid


def answers(energy_mj: int, hot_ns: int, mhz: int, heat: int, bits: int = 0) -> dict[str, Any]:
    return {
        "nvmlDeviceGetTotalEnergyConsumption": energy_mj,
        "nvmlDeviceGetViolationStatus": SimpleNamespace(violationTime=hot_ns),
        "nvmlDeviceGetClockInfo": mhz,
        "nvmlDeviceGetTemperature": heat,
        "nvmlDeviceGetCurrentClocksEventReasons": bits,
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=os.getpid())],
    }


def spans_take(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Each span takes these seconds, the last one for all others."""
    times = [time for second in seconds for time in (0.0, second)]
    clock = chain(times, cycle(times[-2:]))
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_counters_add_up_over_spans_only(monkeypatch: pytest.MonkeyPatch) -> None:
    spans_take(monkeypatch, 1.5)
    nvml = MadeNvml()
    watch = GpuWatch(nvml, "device")
    for before, after in (
        (answers(1000, 0, 300, 40), answers(3500, 10**9, 1700, 60, bits=2)),
        (answers(90_000, 5 * 10**9, 300, 70), answers(91_000, 5 * 10**9 + 5 * 10**8, 1800, 55)),
    ):
        nvml.now = before
        watch.begin()
        nvml.now = after
        watch.end()
    assert watch.state.energy_j == pytest.approx(3.5)
    assert watch.state.hot_s == pytest.approx(1.5)
    assert watch.state.sm_mhz == [1700, 1800]
    assert watch.state.temperature_c == 60
    assert watch.state.slowed == ["heat"]
    assert watch.state.others == 0


@pytest.mark.parametrize("seconds", [(0.5,), (2.0, 0.5), (0.5, 2.0)])
def test_the_energy_of_a_short_span_is_unknown(
    seconds: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spans_take(monkeypatch, *seconds)
    nvml = MadeNvml(**answers(1000, 0, 300, 40))
    watch = GpuWatch(nvml, "device")
    for _ in range(2):
        watch.begin()
        watch.end()
    assert watch.state.energy_j is None
    assert watch.state.sm_mhz == [300, 300]


def test_unsupported_queries_stay_unknown() -> None:
    watch = GpuWatch(MadeNvml(), "device")
    watch.begin()
    watch.end()
    state = watch.state
    assert (state.energy_j, state.hot_s, state.sm_mhz, state.slowed) == (None, None, [], [])
    assert state.others == 0


@pytest.mark.parametrize(
    ("pids", "others"), [([], 0), (["own"], 0), (["own", 7, 8], 2), ([7], 0), ([7, 8], 1)]
)
def test_other_processes_on_the_gpu(pids: list[Any], others: int) -> None:
    running = [SimpleNamespace(pid=os.getpid() if pid == "own" else pid) for pid in pids]
    watch = GpuWatch(MadeNvml(nvmlDeviceGetComputeRunningProcesses=running), "device")
    watch.begin()
    watch.end()
    assert watch.state.others == others


@pytest.mark.parametrize("device", ["GPU-12-34", "MIG-12-34"])
def test_a_device_is_found_by_its_uuid(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", MadeNvml(devices=(device,)))
    for uuid in ("12-34", device):  # torch leaves out the prefix of a whole GPU
        assert GpuWatch.find(uuid)._handle == device


def test_a_missing_nvml_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpuUnreadable, match="nvidia-ml-py is not installed"):
        GpuWatch.find("1")
    monkeypatch.setitem(sys.modules, "pynvml", MadeNvml(refuse="driver not loaded"))
    properties = SimpleNamespace(uuid="1")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert monitor.gpu_watch(torch.device("cuda")) is None
    assert "of the GPU are unknown: NVML: driver not loaded" in capsys.readouterr().out


def test_the_gpu_is_queried_around_each_span(monkeypatch: pytest.MonkeyPatch) -> None:
    spans_take(monkeypatch, 4.0)
    nvml = MadeNvml(**answers(1000, 0, 300, 40))
    monkeypatch.setattr(monitor, "gpu_watch", lambda device: GpuWatch(nvml, "device"))
    clock = TrainingClock(torch.device("cpu"))
    watched = monitor.MachineMonitor(torch.device("cpu"))
    with watched.running(clock):
        nvml.now = answers(9000, 3 * 10**9, 1500, 71, bits=8)
    nvml.now = answers(99_000, 9 * 10**9, 200, 30)
    found = watched.conditions(train_s=4.0)
    assert watched.energy_j() == 8.0
    assert (found.power_w, found.sm_mhz, found.temperature_c) == (2.0, 1500, 71)
    assert (found.hot_s, found.slowed, found.gpu_others) == (3.0, ("power brake",), 0)
