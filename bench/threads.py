"""How many threads a run computes with on a CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import architectures
from bench.cell import Cell
from bench.environment import usable_cores

LIGHT_FLOPS = 200_000_000  # of one image at width 1


@contextmanager
def computing(cell: Cell) -> Iterator[None]:
    """One thread for the light nets of scale "cpu", torch's own choice for all others.

    The layers of a light net at an eighth of its width are too small to share: measured by
    `tests/benchmarks/cpu_settings.py` on two cores. Fixed, not measured anew for each run, since
    the number of threads decides the last bits of a sum.
    """
    with set_to(1 if _is_light(cell) else None):
        yield


@contextmanager
def evaluating(cell: Cell) -> Iterator[None]:
    """All cores inside of `computing`: evaluation is off the clock, and its batches are large."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(asked) if asked.isdigit() else usable_cores()
    with set_to(all_cores if _is_light(cell) else None):
        yield


def _is_light(cell: Cell) -> bool:
    if cell.device != "cpu" or cell.scale != "cpu":
        return False
    flops = architectures.get(cell.architecture).flops
    return 0 < flops < LIGHT_FLOPS  # 0: nobody has counted them


@contextmanager
def set_to(count: int | None) -> Iterator[None]:
    """Inside, torch computes with `count` threads; with as many as before where it is None."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
