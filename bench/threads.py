"""How many threads a run computes with on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.cell import Cell


@contextmanager
def computing(cell: Cell) -> Iterator[None]:
    """One thread for the nets of scale "cpu", torch's own choice for all others.

    The layers of a net at an eighth of its width are too small to share: on two cores every default
    net trained faster with one thread than with two. Fixed, not measured anew for each run, since
    the number of threads decides the last bits of a sum.
    """
    import torch

    before = torch.get_num_threads()
    if cell.device == "cpu" and cell.scale == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
