"""Muon: orthogonalised momentum, many matrices in one batch."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # source: https://kellerjordan.github.io/posts/muon/
# Padding pays on a GPU, where launches cost most, and not on a CPU, where multiplications do.
WASTE = {"cuda": 4.0, "cpu": 1.25}
DTYPE = {"cuda": torch.bfloat16, "cpu": torch.float32}  # many CPUs emulate bfloat16
TINY = 1e-7  # norms below it count as zero
Number = float | Tensor


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Matrices that are orthogonalised in one batch, padded to one shape.

    Args:
        rows: Rows of the padded shape; at most `columns`, as tall matrices are transposed.
    """

    members: tuple[int, ...]
    rows: int
    columns: int


def buckets(shapes: Sequence[tuple[int, int]], waste: float) -> list[Bucket]:
    """Sorts matrices into batches.

    Args:
        shapes: (rows, columns) of each matrix.
        waste: Limit on the work of a padded matrix, as a multiple of its own work.
    """
    turned = [(min(shape), max(shape)) for shape in shapes]
    left = sorted(range(len(shapes)), key=lambda index: turned[index], reverse=True)
    result: list[Bucket] = []
    while left:
        rows, columns = turned[left[0]]
        members = [
            index
            for index in left
            if turned[index][1] <= columns  # rows fit because of the sort
            and work(rows, columns) <= waste * work(*turned[index])
        ]
        left = [index for index in left if index not in members]
        result.append(Bucket(members=tuple(members), rows=rows, columns=columns))
    return result


def work(rows: int, columns: int) -> int:
    """Multiplications of one iteration."""
    return 2 * rows * rows * columns + rows**3


def orthogonal_in(
    bucket: Bucket, matrices: Sequence[Tensor], steps: int, dtype: torch.dtype
) -> list[Tensor]:
    """The bucket's matrices orthogonalised in `dtype`, each in its shape; padding stays zero."""
    chosen = [matrices[index] for index in bucket.members]
    size = (len(chosen), bucket.rows, bucket.columns)
    x_BMN = chosen[0].new_zeros(size, dtype=dtype)
    for place, matrix in zip(_places(x_BMN, chosen), chosen, strict=True):
        place.copy_(matrix)
    return _places(orthogonalise(x_BMN, steps), chosen)


def _places(x_BMN: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Views of a padded batch (B, M, N), one for each matrix, in its shape."""
    return [
        padded.mT[:rows, :columns] if rows > columns else padded[:rows, :columns]
        for padded, (rows, columns) in zip(x_BMN, (m.shape for m in matrices), strict=True)
    ]


def orthogonalise(x_BMN: Tensor, steps: int) -> Tensor:
    """Brings the singular values of (B, M, N), M <= N, to about 0.7 to 1.2.

    Uses Newton-Schulz iterations; exact orthogonality would train no better.
    """
    a, b, c = QUINTIC
    x_BMN = x_BMN / x_BMN.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram_BMM = x_BMN @ x_BMN.mT
        mixed_BMM = torch.baddbmm(gram_BMM, gram_BMM, gram_BMM, beta=b, alpha=c)
        x_BMN = torch.baddbmm(x_BMN, mixed_BMM, x_BMN, beta=a)
    return x_BMN


def as_matrix(weight: Tensor) -> Tensor:
    """A view of a weight (out, in, ...) as (out, in * ...), with columns in memory order."""
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(len(weight), -1)  # raises if a copy would be needed


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The constants of an update (see `Muon`) and the weights' buckets.

    Args:
        dtype: In which matrices are orthogonalised; None takes the device's from `DTYPE`.
    """

    steps: int
    rms: float | None
    renormalise: bool
    dtype: torch.dtype | None = None
    buckets: tuple[Bucket, ...] = ()

    def scale(self, matrix: Tensor) -> float:
        """The factor on an orthogonalised matrix."""
        return 1.0 if self.rms is None else self.rms * math.sqrt(max(matrix.shape))


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for weights that are matrices.

    A convolution counts as a matrix of (out, in * kernel * kernel).

    Args:
        params: Weights of two dimensions or more.
        lr, momentum, weight_decay: As in SGD; decay is decoupled.
        steps: Newton-Schulz iterations.
        rms: Root mean square of an update at rate 1; None keeps singular values near one.
        renormalise_every: Steps after which each weight is brought to the norm sqrt(out), before
            its update: 1 for all steps, more for the calls of `host_step`, 0 for never.

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
        renormalise_every: int = 0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self._rule = Rule(steps=steps, rms=rms, renormalise=renormalise_every == 1)
        self._every, self._done = renormalise_every, 0
        self._rules: dict[tuple[tuple[int, int], ...], Rule] = {}
        self._update = update
        self._compiled = False

    def compile_step(self) -> None:
        """Compiles the update of a group as one graph, at the first step."""
        self._update, self._compiled = compiled_update(), True

    def orthogonalise_in(self, dtype: torch.dtype) -> None:
        """Sets the type for Newton-Schulz iterations, before the first step."""
        self._rule = replace(self._rule, dtype=dtype)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every weight that has a gradient."""
        for group in self.param_groups:
            trained = [weight for weight in group["params"] if weight.grad is not None]
            if trained:
                self._step(group, trained)

    @torch.no_grad()
    def host_step(self) -> None:
        """What is not done in every step, and so not in a captured one; call it after each step."""
        self._done += 1
        if self._every > 1 and self._done % self._every == 0:
            for group in self.param_groups:
                renormalise([weight for weight in group["params"] if weight.requires_grad])

    def _step(self, group: dict[str, Any], trained: list[nn.Parameter]) -> None:
        weights = [weight.detach() for weight in trained]
        numbers = group["lr"], group["momentum"], group["weight_decay"]
        self._update(
            weights,
            [weight.grad for weight in trained if weight.grad is not None],
            [self._buffer(weight) for weight in trained],
            *(self._number(number, weights[0].device) for number in numbers),
            rule=self._rule_of(weights),
        )

    def _buffer(self, weight: nn.Parameter) -> Tensor:
        state: dict[str, Tensor] = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        return state["momentum_buffer"]

    def _rule_of(self, weights: list[Tensor]) -> Rule:
        shapes = tuple((len(weight), weight.numel() // len(weight)) for weight in weights)
        if shapes not in self._rules:
            sorted_weights = tuple(buckets(shapes, WASTE[weights[0].device.type]))
            self._rules[shapes] = replace(self._rule, buckets=sorted_weights)
        return self._rules[shapes]

    def _number(self, number: Number, device: torch.device) -> Number:
        """A tensor if the update is compiled, because every new float would recompile it."""
        if isinstance(number, Tensor) or not self._compiled:
            return number
        return torch.full((), number, device=device)


def update(
    weights: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    rate: Number,
    momentum: Number,
    decay: Number,
    *,
    rule: Rule,
) -> None:
    """Updates weights and momentum in place; rates are numbers, or tensors () on the device."""
    ahead = [as_matrix(tensor) for tensor in nesterov(gradients, buffers, momentum)]
    if rule.renormalise:
        renormalise(weights)
    if isinstance(decay, Tensor) or decay:
        torch._foreach_mul_(weights, 1.0 - rate * decay)
    targets = [as_matrix(weight) for weight in weights]
    dtype = rule.dtype or DTYPE[targets[0].device.type]
    for bucket in rule.buckets:
        orthogonal = orthogonal_in(bucket, ahead, rule.steps, dtype)
        for index, matrix in zip(bucket.members, orthogonal, strict=True):
            move(targets[index], matrix, rate, rule.scale(targets[index]))


def renormalise(weights: list[Tensor]) -> None:
    """Brings each weight to the norm sqrt(out), in place."""
    norms = torch._foreach_norm(weights)
    torch._foreach_maximum_(norms, TINY)
    torch._foreach_div_(norms, [math.sqrt(len(weight)) for weight in weights])
    torch._foreach_div_(weights, norms)


def nesterov(gradients: list[Tensor], buffers: list[Tensor], momentum: Number) -> list[Tensor]:
    """The Nesterov direction, in the memory format of the buffers, which it updates."""
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, gradients)
    ahead = torch._foreach_mul(buffers, momentum)
    torch._foreach_add_(ahead, gradients)
    return list(ahead)


@cache
def compiled_update() -> Callable[..., None]:
    """`update` as one graph for each list of shapes, shared by all optimizers of a process."""
    return torch.compile(update, dynamic=False, fullgraph=True)


def move(weight: Tensor, update: Tensor, rate: Number, scale: float) -> None:
    """Subtracts rate * scale * update; a rate in a tensor stays on its device."""
    if isinstance(rate, Tensor):
        weight.addcmul_(update, rate, value=-scale)
    else:
        weight.add_(update, alpha=-rate * scale)
