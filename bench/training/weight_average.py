"""Averages of the weights over training, and batch-norm statistics that fit changed weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench.recipe import Recipe

EVERY = 5  # steps between two updates of an average


class WeightAverage:
    """A running average of all weights and statistics of a net.

    "ema" keeps it beside the net and evaluates it. "lookahead" sets the net back to it at each
    update, with a decay that grows with the third power of the progress, as hlb-CIFAR10 and
    cifar10-airbench do.

    Args:
        net: Its floating tensors are averaged; they must stay the same tensors.
        recipe: Which average, and its decay.
        steps: Of the whole run.
    """

    def __init__(self, net: nn.Module, recipe: Recipe, steps: int) -> None:
        self._own = [value for value in net.state_dict().values() if value.is_floating_point()]
        self._average = [value.clone() for value in self._own]
        self._looks_ahead = recipe.average == "lookahead"
        self._decay = recipe.average_decay**EVERY
        self._steps = steps
        self._done = 0
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Counts a step; now and then moves the average."""
        self._done += 1
        if self._done % EVERY:
            return
        decay = self._decay
        if self._looks_ahead:
            decay *= (self._done / self._steps) ** 3
        torch._foreach_lerp_(self._average, self._own, 1.0 - decay)
        if self._looks_ahead:
            torch._foreach_copy_(self._own, self._average)

    @torch.no_grad()
    def settle(self) -> None:
        """Puts into the net what is to be evaluated."""
        if not self._looks_ahead:
            self._swap()
        elif self._done >= self._steps:
            torch._foreach_copy_(self._own, self._average)

    def resume(self) -> None:
        """Puts back what is trained."""
        if self._swapped:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        kept = [value.clone() for value in self._own]
        torch._foreach_copy_(self._own, self._average)
        torch._foreach_copy_(self._average, kept)
        self._swapped = not self._swapped


@torch.no_grad()
def refresh_statistics(net: nn.Module, images: Iterable[Tensor]) -> None:
    """Sets the running statistics of batch norms to those of `images` under the present weights.

    Args:
        net: In training mode and not compiled, as it would be compiled anew; what else than batch
            norms draws or counts in it does so.
        images: Batches (B, C, H, W); all weigh alike.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    if not norms:
        return
    try:
        for number, batch_BCHW in enumerate(images, start=1):
            for norm in norms:
                norm.momentum = 1.0 / number  # the plain mean over what it sees
            net(batch_BCHW)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
