"""Which errors mean that memory ran out, and what is said of them.

torch has an exception for a GPU's memory that is full. On a CPU, in cuBLAS and cuDNN, and in DALI
the same is a RuntimeError that only its words tell from others.
"""

import errno

from bench.cell import Cell
from bench.record import Memory

SAID = (
    "out of memory",  # CUDA, DALI
    "can't allocate memory",  # torch's CPU allocator
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "memoryallocation",  # cudaErrorMemoryAllocation
    "bad_alloc",
)


def ran_out(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, of the device or of the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in SAID)


def told(error: BaseException, cell: Cell, peak: Memory) -> str:
    """Batch size, peak and what to do in one line; below it what the library said."""
    figures = [
        f"{gib:.2f} GiB {where}"
        for gib, where in (
            (peak.torch_gib, "of tensors on the GPU"),
            (peak.device_gib, "in use on the GPU"),
            (peak.host_gib, "of the process"),
        )
        if gib is not None
    ]
    peaks = f", peak {', '.join(figures)}" if figures else ""
    smaller = f"--set batch_size={cell.batch_size // 2} or " if cell.batch_size > 1 else ""
    said = str(error) or type(error).__name__
    return (
        f"out of memory with batch size {cell.batch_size}{peaks}; the batch is never changed "
        f"unasked: {smaller}--set width={cell.width / 2:g} makes a cell that needs less\n{said}"
    )


__all__ = ["ran_out", "told"]
