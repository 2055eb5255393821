"""Averages of the weights over training, and batch-norm statistics for changed weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.recipe import Recipe

UPDATE_EVERY = 5  # steps


class WeightAverage:
    """An exponential moving average of all weights and statistics of a net.

    With "ema" the average is only evaluated. With "lookahead" each update also resets the net to
    the average, and the decay grows with the cube of the progress, as in hlb-CIFAR10 and
    cifar10-airbench.

    torch's `AveragedModel` keeps the average in a second net. Compiled nets and captured graphs are
    bound to their tensors, so this class swaps the values in place.

    Args:
        net: Its floating-point tensors are averaged; they must stay the same tensors.
        recipe: Kind of average, and its decay.
        steps: Length of the whole run.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, steps: int) -> None:
        self._weights = [value for value in net.state_dict().values() if value.is_floating_point()]
        self._average = [value.clone() for value in self._weights]
        self._looks_ahead = recipe.average == "lookahead"
        self._decay = recipe.average_decay**UPDATE_EVERY
        self._steps = steps
        self._step = 0
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Counts a step; updates the average every few steps."""
        self._step += 1
        if self._step % UPDATE_EVERY:
            return
        decay = self._decay
        if self._looks_ahead:
            decay *= min(self._step / self._steps, 1.0) ** 3
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(self._average, self._weights, None)
        if self._looks_ahead:
            torch._foreach_copy_(self._weights, self._average)

    @torch.no_grad()
    def begin_evaluation(self) -> None:
        """Puts the weights for evaluation into the net."""
        if not self._looks_ahead:
            self._swap()
        elif self._step >= self._steps:
            torch._foreach_copy_(self._weights, self._average)

    def begin_training(self) -> None:
        """Puts the weights for training back into the net."""
        if self._swapped:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        weights = [value.clone() for value in self._weights]
        torch._foreach_copy_(self._weights, self._average)
        torch._foreach_copy_(self._average, weights)
        self._swapped = not self._swapped


@torch.no_grad()
def refresh_statistics(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the batch norms' running statistics to their mean over `batches`.

    Like torch's `update_bn`, but without its host-device synchronization at each batch norm, since
    this runs on the training clock.

    Args:
        net: A net in training mode, not compiled, as it would be recompiled.
        batches: Images (B, C, H, W); all batches have equal weight.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    if not norms:
        return
    try:
        for number, x_BCHW in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1.0 / number
            net(x_BCHW)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
