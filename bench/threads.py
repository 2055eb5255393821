"""How many threads a run computes with on a CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.cell import Cell
from bench.environment import usable_cores


@contextmanager
def computing(cell: Cell) -> Iterator[None]:
    """One thread for the nets of scale "cpu", torch's own choice for all others.

    The layers of a net at an eighth of its width are too small to share: on two cores every default
    net trained faster with one thread than with two. Fixed, not measured anew for each run, since
    the number of threads decides the last bits of a sum.
    """
    with _threads(1 if _is_narrow(cell) else None):
        yield


@contextmanager
def evaluating(cell: Cell) -> Iterator[None]:
    """All cores inside of `computing`: evaluation is off the clock, and its batches are large."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(asked) if asked.isdigit() else usable_cores()
    with _threads(all_cores if _is_narrow(cell) else None):
        yield


def _is_narrow(cell: Cell) -> bool:
    return cell.device == "cpu" and cell.scale == "cpu"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
