"""The device under test: CUDA, or a CPU to try the tests themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

DEVICE = os.environ.get("PIPELINE_BENCH_GPU_TESTS_ON", "cuda")
available = DEVICE == "cpu" or torch.cuda.is_available()

on_the_device = [pytest.mark.gpu, pytest.mark.skipif(not available, reason="no CUDA device")]
cuda_alone = pytest.mark.skipif(DEVICE != "cuda", reason="only CUDA has it")


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Raises if the host waits for a CUDA device in the block."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
