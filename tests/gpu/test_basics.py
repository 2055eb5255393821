"""Clock, memory, NVML, step and peaks on a CUDA device, in one process."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.executors.worker import is_out_of_memory
from bench.machine import environment
from bench.machine.clock import CompileWatch, TrainingClock
from bench.machine.doctor import check_gpu, query_smi
from bench.machine.gpu import GpuWatch
from bench.machine.monitor import peaks, reset_peaks
from bench.machine.roofline import measure_peaks
from bench.training.setup import Shared, fresh_step, prepare
from tests.gpu.device import DEVICE, cuda_alone, on_the_device, waiting_is_an_error
from tests.training.test_run import CELL as SMALL
from tests.training.test_run import builder

pytestmark = on_the_device

ON = torch.device(DEVICE)


def busy(rounds: int) -> None:
    x = torch.randn(1024, 1024, device=ON)
    for _ in range(rounds):
        x = x @ x / 32


def test_the_device_can_be_used_and_described() -> None:
    probe = environment.probe()
    found = environment.describe(DEVICE)
    assert probe.torch == found["torch"] == str(torch.__version__)
    if DEVICE == "cuda":
        assert probe.cuda
        assert probe.gpu == found["gpu"] == torch.cuda.get_device_name()
        assert check_gpu(probe, query_smi()).status == "ok"
        assert environment.machine_name("cuda") != environment.machine_name("cpu")


def test_the_clock_waits_for_the_device() -> None:
    busy(3)
    clock = TrainingClock(ON)
    start = time.perf_counter()
    with clock.running():
        busy(200)
    passed_s = time.perf_counter() - start
    assert 0 < clock.wall_s <= passed_s
    if DEVICE == "cuda":
        assert 0 < clock.device_s <= clock.wall_s
        assert torch.cuda.current_stream().query(), "work was left when the clock stopped"


@cuda_alone
def test_the_peak_of_the_devices_memory_is_known_and_can_be_reset() -> None:
    reset_peaks(ON)
    before = peaks(ON)
    block = torch.empty(2**28, dtype=torch.uint8, device=ON)
    del block
    after = peaks(ON)
    assert after.torch_gib - before.torch_gib == pytest.approx(0.25, abs=0.01)
    assert 0 < after.device_gib <= torch.cuda.get_device_properties(ON).total_memory / 2**30
    reset_peaks(ON)
    assert peaks(ON).torch_gib == pytest.approx(before.torch_gib, abs=0.01)


@cuda_alone
def test_out_of_memory_is_recognised() -> None:
    with pytest.raises(torch.OutOfMemoryError) as error:
        torch.empty(2**50, dtype=torch.uint8, device=ON)
    assert is_out_of_memory(error.value)
    busy(1)  # and the device goes on


@cuda_alone
def test_nvml_knows_this_device() -> None:
    pytest.importorskip("pynvml")
    watch = GpuWatch.find(str(torch.cuda.get_device_properties(ON).uuid))
    watch.begin()
    busy(2000)
    torch.cuda.synchronize()
    watch.end()
    state = watch.state
    assert 100 < state.sm_mhz[0] < 5000
    assert 10 < state.temperature_c < 110
    assert state.energy_j is None or 0 <= state.energy_j < 1e5
    assert state.others >= 0


CELL = replace(
    SMALL, architecture="airnet94", optimizer="muon_sgd", augmentation="speedrun94",
    pipeline="native[eager]", device=DEVICE, epochs=1, batch_size=128, train_images=1024,
    precision="bf16", compile=DEVICE == "cuda",
)  # fmt: skip


def test_a_step_trains_in_channels_last_and_bf16_without_waiting() -> None:
    draft = builder(CELL, Path("nowhere"))
    parts = prepare(draft, Shared(), ON)
    try:
        filters = [p for p in parts.net.module.parameters() if p.ndim == 4]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
        assert {p.device.type for p in filters} == {DEVICE}
        step = fresh_step(parts)
        images_BCHW, labels_B = next(parts.pipeline.epoch(0))
        assert images_BCHW.dtype == torch.bfloat16
        assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
        first = step(images_BCHW, labels_B)
        for state in (*step.freezing.changes, 0):  # each is a graph of its own
            step.freezing.go_to(state)
            step(images_BCHW, labels_B)
        watch = CompileWatch()
        with waiting_is_an_error():
            losses = [step(images_BCHW, labels_B) for _ in range(4)]
        assert watch.new_graphs() == 0
        assert torch.stack(losses).isfinite().all()
        assert losses[-1] < first
    finally:
        parts.close()


# Dense bf16 FLOP/s and bytes/s of NVIDIA's data sheets, by the name of the GPU.
DATA_SHEETS = {
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA H100 PCIe": (756e12, 2.0e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.039e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 1.555e12),
}


def test_peaks_are_what_the_data_sheet_allows() -> None:
    found = measure_peaks(ON, "bf16" if DEVICE == "cuda" else "fp32")
    assert found.flops_per_s > 1e9
    assert found.bytes_per_s > 1e8
    stated = DATA_SHEETS.get(torch.cuda.get_device_name()) if DEVICE == "cuda" else None
    if stated is not None:
        assert 0.4 < found.flops_per_s / stated[0] < 1.05
        assert 0.5 < found.bytes_per_s / stated[1] < 1.05
