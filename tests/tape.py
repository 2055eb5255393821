"""CUDA graphs on a CPU: what was captured is done again, with the same tensors and numbers.

As in a graph, Python code runs at the capture only: a number that it works out stays what it was
then, a tensor that it makes keeps its memory, and nothing can be read back. Generators go on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.waiting import waits

WARM_STEPS = 3


class NotPermitted(RuntimeError):
    """An operation that a CUDA graph cannot hold."""


class Tape(TorchDispatchMode):
    """The operations of the `with` block, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if waits(func, args):
            raise NotPermitted(f"operation not permitted when stream is capturing: {func}")
        found = func(*args, **(kwargs or {}))
        self._done.append((func, args, dict(kwargs or {}), found))
        return found

    @torch.no_grad()
    def replay(self) -> None:
        """Does all of it again: each result goes where it went the first time."""
        for func, args, kwargs, before in self._done:
            now = func(*args, **kwargs)
            for old, new in zip(pytree.tree_leaves(before), pytree.tree_leaves(now), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def capture(work: Callable[[], None], draws: Sequence[torch.Generator]) -> Tape:
    """A `bench.training.cuda_graph.Capture`."""
    for _ in range(WARM_STEPS):
        work()
    with Tape() as tape:
        work()
    return tape
