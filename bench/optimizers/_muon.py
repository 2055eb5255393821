"""Muon: momentum made orthogonal, many matrices at once; and optimizers that go together."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.optimizers._orthogonal import Bucket, as_matrix, buckets, orthogonalise

# Padding is cheap where launches cost, dear where multiplications do; and CPUs emulate bfloat16.
WASTE = {"cuda": 4.0, "cpu": 1.25}
DTYPE = {"cuda": torch.bfloat16, "cpu": torch.float32}


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
        self._sorted: dict[int, list[Bucket]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every weight that has a gradient."""
        for number, group in enumerate(self.param_groups):
            trained = [weight for weight in group["params"] if weight.grad is not None]
            if trained:
                self._step(number, group, trained)

    def _step(self, number: int, group: dict[str, Any], trained: list[nn.Parameter]) -> None:
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        buffers = [self._buffer(weight) for weight in trained]
        weights = [weight.data for weight in trained]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        ahead = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
        if self._renormalise:
            norms = torch._foreach_norm(weights)
            sizes = [math.sqrt(len(weight)) for weight in weights]
            torch._foreach_mul_(
                weights, torch._foreach_mul(torch._foreach_reciprocal(norms), sizes)
            )
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1.0 - group["lr"] * group["weight_decay"])
        matrices = [as_matrix(tensor) for tensor in ahead]
        if number not in self._sorted:
            shapes = [(matrix.shape[0], matrix.shape[1]) for matrix in matrices]
            self._sorted[number] = buckets(shapes, WASTE[weights[0].device.type])
        for bucket in self._sorted[number]:
            updates = self._orthogonal(bucket, matrices)
            targets = [as_matrix(weights[index]) for index in bucket.members]
            for target, update in zip(targets, updates, strict=True):
                target.add_(update, alpha=-group["lr"] * self._scale(target))

    def _buffer(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _orthogonal(self, bucket: Bucket, matrices: list[Tensor]) -> list[Tensor]:
        chosen = [matrices[index] for index in bucket.members]
        turned = [matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix for matrix in chosen]
        x_BMN = chosen[0].new_zeros(
            (len(chosen), bucket.rows, bucket.columns), dtype=DTYPE[chosen[0].device.type]
        )
        for place, matrix in zip(x_BMN, turned, strict=True):
            place[: matrix.shape[0], : matrix.shape[1]].copy_(matrix)
        x_BMN = orthogonalise(x_BMN, self._steps)
        return [
            (place[: one.shape[0], : one.shape[1]] if one is matrix else
             place[: one.shape[0], : one.shape[1]].mT).to(matrix.dtype)
            for place, one, matrix in zip(x_BMN, turned, chosen, strict=True)
        ]  # fmt: skip

    def _scale(self, matrix: Tensor) -> float:
        return 1.0 if self._rms is None else self._rms * math.sqrt(max(matrix.shape))


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups side by side, one step each.

    Args:
        parts: Whose parameters are apart.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        groups = [group for part in parts for group in part.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.param_groups = groups  # the parts' own, so that a schedule reaches them
        self.state = _Joined(parts)  # type: ignore[assignment]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each."""
        for part in self.parts:
            part.step()


class _Joined(dict[Tensor, Any]):
    """The states of several optimizers, looked up where they are."""

    def __init__(self, parts: tuple[torch.optim.Optimizer, ...]) -> None:
        super().__init__()
        self._parts = parts

    def __missing__(self, key: Tensor) -> Any:
        for part in self._parts:
            if key in part.state:
                return part.state[key]
        raise KeyError(key)

    def values(self) -> Any:
        return [state for part in self._parts for state in part.state.values()]
