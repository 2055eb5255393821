"""What a device can do at most: multiplications by a large product, bytes by a large copy."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cell import Precision
from bench.clock import synchronize

ROUNDS = 7
ROUND_S = 0.25
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SIDES = {"cuda": 8192, "cpu": 1024}  # of the product's matrices
COPIED_MIB = {"cuda": 1024, "cpu": 256}
SHARE = 8  # of the free memory, at most one part in as many for each side of the copy


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Measured on this device; medians of the rounds.

    Args:
        precision: Of the product. fp32 on a GPU is what its convolutions use by default, TF32.
        flops_per_s: Two for each multiplication.
        bytes_per_s: Read and written together.
        threads: That computed, on a CPU; None on a GPU.
    """

    precision: Precision
    flops_per_s: float
    bytes_per_s: float
    threads: int | None = None


def measure(device: torch.device, precision: Precision) -> Peaks:
    """Measures with whatever threads torch has now; takes some seconds."""
    gpu = device.type == "cuda"
    if gpu and precision == "fp32":
        torch.set_float32_matmul_precision("high")
    side, size = SIDES[device.type], copied_bytes(device)
    return Peaks(
        precision=precision,
        flops_per_s=2 * side**3 / product_s(side, DTYPES[precision], device),
        bytes_per_s=2 * size / copy_s(size, device),
        threads=None if gpu else torch.get_num_threads(),
    )


def product_s(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of a product of square matrices."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return seconds(lambda: torch.mm(a, b, out=product), device)


def copy_s(size: int, device: torch.device) -> float:
    """Seconds of a copy of so many bytes on the device."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return seconds(lambda: target.copy_(source), device)


def copied_bytes(device: torch.device) -> int:
    """Far more than any cache holds, and far less than is free."""
    wanted = COPIED_MIB[device.type] * 2**20
    if device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    return min(wanted, free // SHARE)


def seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """Median time of one call; as many calls a round as take `ROUND_S`, the device idle around."""
    took_s, calls = 0.0, 1
    while took_s < ROUND_S / 4:
        calls, took_s = calls * 2, _round(work, device, calls * 2)
    calls = max(1, round(calls * ROUND_S / took_s))
    return statistics.median(_round(work, device, calls) / calls for _ in range(ROUNDS))


def _round(work: Callable[[], Tensor], device: torch.device, calls: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return time.perf_counter() - start


__all__ = ["Peaks", "measure"]
