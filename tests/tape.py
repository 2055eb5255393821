"""CUDA graphs on a CPU: captured operations are repeated with the same tensors and numbers.

As in a graph, Python code runs only during the capture: a number that it computes stays as it was
then, a tensor that it makes keeps its memory, and nothing can be read back. Random generators
continue. Also says which operators make the host wait for the device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

WARM_STEPS = 3
WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
MASKS = (torch.bool, torch.uint8)
INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}


def waits(operator: Any, arguments: Sequence[Any]) -> bool:
    """Whether the host must know its result, or the size of it, and so waits for the device."""
    if operator in INDEXING:
        return any(index is not None and index.dtype in MASKS for index in arguments[1])
    return bool(WAITS & set(operator.tags))


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
        """Repeats all of it: each result is written where it was the first time."""
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
