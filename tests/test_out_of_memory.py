"""Memory that ran out is told from other faults, whoever says so and in whatever words."""

import errno

import pytest
import torch

from bench.out_of_memory import ran_out, told
from bench.record import Memory
from tests.made import made_cell


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"
                     " memory: you tried to allocate 8 bytes. Error code 12"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA runtime API error cudaErrorMemoryAllocation (2)"),
        RuntimeError("std::bad_alloc"),
    ],
)  # fmt: skip
def test_it_ran_out(error: Exception) -> None:
    assert ran_out(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_it_did_not(error: Exception) -> None:
    assert not ran_out(error)


def test_what_is_said_of_a_gpu() -> None:
    cell = made_cell(batch_size=512, width=1.0)
    peak = Memory(host_gib=2.0, torch_gib=77.5, device_gib=79.0)
    headline, said = told(torch.OutOfMemoryError("CUDA out of memory."), cell, peak).split("\n")
    assert headline == (
        "out of memory with batch size 512, peak 77.50 GiB of tensors on the GPU, 79.00 GiB in use "
        "on the GPU, 2.00 GiB of the process; the batch is never changed unasked: --set "
        "batch_size=256 or --set width=0.5 makes a cell that needs less"
    )
    assert said == "CUDA out of memory."


def test_what_is_said_of_one_image_of_which_nothing_is_known() -> None:
    text = told(MemoryError(), made_cell(batch_size=1, width=1.0), Memory())
    assert text == (
        "out of memory with batch size 1; the batch is never changed unasked: --set width=0.5 "
        "makes a cell that needs less\nMemoryError"
    )
