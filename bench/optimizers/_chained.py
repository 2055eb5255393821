"""Several optimizers as one."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class ChainedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one: their groups side by side, one step each.

    Args:
        parts: Whose parameters are apart.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.param_groups = groups  # the parts' own, so that a schedule reaches them
        self.state = _States(parts)  # type: ignore[assignment]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each."""
        for part in self.parts:
            part.step()

    def compile_step(self) -> None:
        """Compiles the steps of those that can be; the others' are fused as they are."""
        for part in self.parts:
            if hasattr(part, "compile_step"):
                part.compile_step()


class _States(Mapping[Tensor, Any]):
    """The states of several optimizers, looked up where they are."""

    def __init__(self, parts: tuple[torch.optim.Optimizer, ...]) -> None:
        self._parts = parts

    def __getitem__(self, key: Tensor) -> Any:
        for part in self._parts:
            if key in part.state:
                return part.state[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[Tensor]:
        return (key for part in self._parts for key in part.state)

    def __len__(self) -> int:
        return sum(len(part.state) for part in self._parts)
