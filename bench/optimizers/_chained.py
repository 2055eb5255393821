"""Optimizers around others: several as one, and SAM."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class ChainedOptimizer(torch.optim.Optimizer):
    """Several optimizers with different parameters as one, stepped together."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.param_groups = groups  # the parts' own dicts, so that a schedule reaches them
        for part in parts:
            part.state = self.state  # shared, keyed by parameter

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each part."""
        for part in self.parts:
            part.step()

    def host_step(self) -> None:
        """The host's part of a step, for parts that have one."""
        for part in self.parts:
            if hasattr(part, "host_step"):
                part.host_step()

    def compile_step(self) -> None:
        """Compiles the step of each part that supports it; the others are fused already."""
        for part in self.parts:
            if hasattr(part, "compile_step"):
                part.compile_step()

    def orthogonalise_in(self, dtype: torch.dtype) -> None:
        """Sets the type in which parts orthogonalise, for those that do."""
        for part in self.parts:
            if hasattr(part, "orthogonalise_in"):
                part.orthogonalise_in(dtype)


class Sam(ChainedOptimizer):
    """Moves up the gradient by `rho`, computes the gradient there, and steps with it.

    Args:
        base: The optimizer that takes the step.
        net: Its running statistics are updated by the first pass only.
        rho: Euclidean length of the upward move, over all weights.

    Source: Foret et al. 2020, https://arxiv.org/abs/2010.01412
    """

    def __init__(self, base: torch.optim.Optimizer, net: nn.Module, rho: float) -> None:
        super().__init__(base)
        self._rho = rho
        self._statistics = [value for value in net.buffers() if value.is_floating_point()]

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """A step, given the first pass's gradients; `closure` runs the second pass."""
        assert closure is not None
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        kept = [value.clone() for value in [*trained, *self._statistics]]
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, self._rho / (length + 1e-12))
        torch._foreach_add_(trained, gradients)
        self.zero_grad(set_to_none=True)
        with torch.enable_grad():
            closure()
        torch._foreach_copy_([*trained, *self._statistics], kept)
        super().step()
