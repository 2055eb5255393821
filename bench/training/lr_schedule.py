"""The learning rates of a whole run, computed in advance."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class LRSchedule:
    """Sets the learning rate of each parameter group, step by step.

    On the host the rates are numbers. After `to_device` they are tensors that are updated on the
    device, so that CUDA graphs of steps can include the update.

    Args:
        optimizer: The rates of its groups are the peak rates.
        factors: For each group, the factor on its peak rate as a function of the step.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factors: Sequence[Callable[[int], float]],
        steps: int,
    ) -> None:
        self._groups = optimizer.param_groups
        peaks = [float(group["lr"]) for group in self._groups]
        self._table = [
            [peak * factor(step) for peak, factor in zip(peaks, factors, strict=True)]
            for step in range(steps + 1)
        ]
        self._table_SG: Tensor | None = None
        self.go_to(0)

    def highest(self, step: int) -> float:
        """The highest rate of all groups after `step` steps."""
        return max(self._table[min(step, len(self._table) - 1)])

    def to_device(self, device: torch.device) -> None:
        """Makes the groups' rates float32 tensors () on `device`."""
        self._table_SG = torch.tensor(self._table, device=device)
        self._step_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._rates_G = self._table_SG[0].clone()
        for group, rate in zip(self._groups, self._rates_G, strict=True):
            group["lr"] = rate
        self.go_to(self._step)

    def go_to(self, step: int) -> None:
        """Sets the rates that apply after `step` steps."""
        self._step = step
        if self._table_SG is not None:
            self._step_1.fill_(min(step, len(self._table) - 1))
        self._set()

    def step(self) -> None:
        """Sets the rates of the next step."""
        if self._table_SG is not None:
            self._step_1.add_(1).clamp_(max=len(self._table) - 1)
        else:
            self._step += 1
        self._set()

    def _set(self) -> None:
        if self._table_SG is not None:
            self._rates_G.copy_(self._table_SG.index_select(0, self._step_1)[0])
            return
        rates = self._table[min(self._step, len(self._table) - 1)]
        for group, rate in zip(self._groups, rates, strict=True):
            group["lr"] = rate
