"""Muon: momentum made orthogonal, many matrices at once."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.optimizers._orthogonal import Bucket, as_matrix, buckets, orthogonal_in

# Padding is cheap where launches cost, dear where multiplications do; and CPUs emulate bfloat16.
WASTE = {"cuda": 4.0, "cpu": 1.25}
DTYPE = {"cuda": torch.bfloat16, "cpu": torch.float32}
TINY = 1e-7  # norms below it count as zero


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for weights that are matrices.

    A convolution counts as a matrix of (out, in * kernel * kernel).

    Args:
        params: Weights of two dimensions or more.
        lr: Learning rate.
        momentum: Of the gradient.
        weight_decay: Decoupled.
        steps: Newton-Schulz iterations.
        rms: Root mean square of an update at rate 1; None leaves singular values at one.
        renormalise: Whether each weight is brought to the norm sqrt(out) before its update.

    Source: https://kellerjordan.github.io/posts/muon/; `rms` 0.2 as in https://arxiv.org/abs/2502.16982
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float,
        weight_decay: float = 0.0,
        steps: int = 5,
        rms: float | None = 0.2,
        renormalise: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self._steps, self._rms, self._renormalise = steps, rms, renormalise
        self._sorted: dict[tuple[tuple[int, int], ...], list[Bucket]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every weight that has a gradient."""
        for group in self.param_groups:
            trained = [weight for weight in group["params"] if weight.grad is not None]
            if trained:
                self._step(group, trained)

    def _step(self, group: dict[str, Any], trained: list[nn.Parameter]) -> None:
        weights = [weight.data for weight in trained]
        if self._renormalise:
            norms = torch._foreach_norm(weights)
            torch._foreach_maximum_(norms, TINY)
            torch._foreach_div_(norms, [math.sqrt(len(weight)) for weight in weights])
            torch._foreach_div_(weights, norms)
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        ahead = [as_matrix(tensor) for tensor in self._ahead(trained, group["momentum"])]
        targets = [as_matrix(weight) for weight in weights]
        for bucket in self._buckets(targets):
            updates = orthogonal_in(bucket, ahead, self._steps, DTYPE[ahead[0].device.type])
            for index, update in zip(bucket.members, updates, strict=True):
                move(targets[index], update, group["lr"], self._scale(targets[index]))

    def _ahead(self, trained: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """Nesterov momentum, in the memory format of the weights."""
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        buffers = [self._buffer(weight) for weight in trained]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        ahead = list(torch._foreach_mul(buffers, momentum))
        torch._foreach_add_(ahead, gradients)
        return ahead

    def _buffer(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _buckets(self, matrices: list[Tensor]) -> list[Bucket]:
        shapes = tuple((len(matrix), matrix.shape[1]) for matrix in matrices)
        if shapes not in self._sorted:
            self._sorted[shapes] = buckets(shapes, WASTE[matrices[0].device.type])
        return self._sorted[shapes]

    def _scale(self, matrix: Tensor) -> float:
        return 1.0 if self._rms is None else self._rms * math.sqrt(max(matrix.shape))


def move(weight: Tensor, update: Tensor, rate: float | Tensor, scale: float) -> None:
    """Subtracts rate * scale * update; a rate in a tensor stays on its device."""
    if isinstance(rate, Tensor):
        weight.addcmul_(update, rate, value=-scale)
    else:
        weight.add_(update, alpha=-rate * scale)
