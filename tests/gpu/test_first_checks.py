"""What to look at first on a GPU, on a short run of airnet94; each test prints what it measured.

DALI under load is checked in `test_dali`, replays against launches in `test_replay`.
"""

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from gzip import decompress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import architectures
from bench.machine.cpu import training_threads
from bench.machine.gpu import set_up_gpu
from bench.record import GRAPH, Record
from bench.training import compiling
from bench.training.profiler import STEPS, trace_name
from bench.training.run import train
from bench.training.setup import Shared
from tests import checkout
from tests.fake_cuda.inductor import own_decompositions
from tests.gpu.device import DEVICE, cuda_alone, on_the_device
from tests.training.test_run import CELL as SMALL
from tests.training.test_run import builder, run

pytestmark = on_the_device

BATCH = 2000 if DEVICE == "cuda" else 50
CELL = replace(
    SMALL, architecture="airnet94", optimizer="muon_sgd", augmentation="speedrun94",
    pipeline="native" if DEVICE == "cuda" else "native[eager]", device=DEVICE, epochs=4,
    batch_size=BATCH, width=1.0 if DEVICE == "cuda" else 0.25, train_images=5 * BATCH,
    precision="bf16", compile=DEVICE == "cuda",
)  # fmt: skip
SHARED = Shared()  # so that the net is compiled once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@pytest.fixture(scope="module")
def record(folder: Path) -> Record:
    draft = builder(CELL, folder)
    draft.job = replace(draft.job, profile=True)
    with training_threads(CELL):
        train(draft, SHARED, lambda point: None)
    return draft.record("ok")


def test_sam_trains(tmp_path: Path) -> None:
    cell = replace(CELL, architecture="cnn4", optimizer="sam", augmentation="flip_crop")
    found = run(cell, tmp_path)
    print(f"sam: {found.stepping}, loss {found.curve[-1].train_loss:.3f}")
    assert found.status == "ok"


def test_steps_are_one_cuda_graph(record: Record) -> None:
    print(f"stepping: {record.stepping}")
    assert record.stepping == (GRAPH if DEVICE == "cuda" else "")


def test_kernels_of_a_replayed_step(record: Record, folder: Path) -> None:
    trace = json.loads(decompress((folder / trace_name(record.run_id)).read_bytes()))
    kernels = [event for event in trace["traceEvents"] if event.get("cat") == "kernel"]
    total_us = sum(event["dur"] for event in kernels)
    convolutions_us = sum(e["dur"] for e in kernels if "conv" in e["name"] or "gemm" in e["name"])
    print(f"kernels of a step: {len(kernels) / STEPS:.0f}, {total_us / STEPS:.0f} us")
    print(f"share of convolutions and products: {convolutions_us / max(total_us, 1):.0%}")
    if DEVICE == "cuda":
        assert kernels
        assert not [event["name"] for event in kernels if "atomic_add" in event["name"]]


def test_the_whitening_is_fitted_in_milliseconds(record: Record) -> None:
    print(f"fit_s: {record.timings.fit_s:.4f}")
    if DEVICE == "cuda":
        assert record.timings.fit_s < 0.005


def test_the_host_does_not_hold_up_the_device(record: Record) -> None:
    timings = record.timings
    steps = CELL.epochs * (CELL.train_images or 0) // BATCH
    alone_ms = 1000 * BATCH / (record.throughput.ceiling or math.nan)
    print(f"train_s {timings.train_s:.3f}, on the device {timings.train_device_s}")
    print(f"a step {1000 * timings.train_s / steps:.2f} ms, alone {alone_ms:.2f} ms")
    if DEVICE == "cuda":
        assert timings.train_s - timings.train_device_s < 0.05 * timings.train_s + 0.005


def test_a_second_run_needs_no_more_memory(record: Record, tmp_path: Path) -> None:
    again = run(CELL, tmp_path, shared=SHARED)
    print(f"torch GiB: {record.memory.torch_gib}, again {again.memory.torch_gib}")
    if DEVICE == "cuda":
        assert again.memory.torch_gib == pytest.approx(record.memory.torch_gib, rel=0.01)


@cuda_alone
def test_a_new_process_takes_compiled_code_from_the_cache(record: Record, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.training.test_run import run; "
        "from tests.gpu.test_first_checks import CELL; "
        "print(run(CELL, Path(sys.argv[1])).compiled)"
    )
    done = checkout.python(code, str(tmp_path))
    print(f"compiled: {record.compiled}; in a new process: {done.stdout} {done.stderr}")
    assert done.stdout.splitlines()[-1] == "from cache"


@cuda_alone
def test_the_gpu_is_ours_and_not_throttled(record: Record) -> None:
    print(record.conditions)
    assert not record.conditions.slowed
    assert not record.conditions.gpu_others


def step_ms(net: Callable[..., Tensor], steps: int = 20) -> float:
    """Median milliseconds of a forward and a backward pass."""
    x_BCHW = torch.randn(BATCH, 3, 32, 32, device=DEVICE, dtype=torch.bfloat16)
    x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
    labels_B = torch.randint(0, 10, (BATCH,), device=DEVICE)
    times_ms = []
    for _ in range(steps):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            loss = F.cross_entropy(net(x_BCHW), labels_B)
        loss.backward()
        end.record()
        torch.cuda.synchronize()
        times_ms.append(begin.elapsed_time(end))
    return float(statistics.median(times_ms[steps // 2 :]))


@cuda_alone
def test_the_compilers_options_gain_time() -> None:
    """Printed, not asserted: the gain depends on the GPU."""

    def net() -> nn.Module:
        return architectures.build("airnet94").to(DEVICE, memory_format=torch.channels_last)

    plain = torch.compile(net(), dynamic=False)
    with own_decompositions():
        step_ms(plain, steps=3)  # compiles it
    ours = compiling.compiled_net(net(), CELL)
    step_ms(ours, steps=3)
    set_up_gpu()
    variants: dict[str, Callable[..., Tensor]] = {"as torch compiles it": plain, "ours": ours}
    for benchmark in (False, True, False, True):
        torch.backends.cudnn.benchmark = benchmark
        for name, compiled in variants.items():
            print(f"{name}, cudnn.benchmark {benchmark}: {step_ms(compiled):.2f} ms")
    torch.backends.cudnn.benchmark = True
