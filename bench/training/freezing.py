"""Parameters that are trained only during the first part of a run."""

import math

from torch import nn


def trained_parameters(net: nn.Module) -> int:
    """Number of parameters that are trained during at least a part of the run."""
    return sum(
        parameter.numel()
        for parameter in net.parameters()
        if parameter.requires_grad or hasattr(parameter, "trained_for")
    )


class Freezing:
    """Freezes parameters once their share of a run is over.

    A net declares the share as the attribute `trained_for` of a parameter. Backward passes then
    skip what only frozen parameters need. A compiled net is recompiled for each freeze state, which
    the warm-up does with `go_to`.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        shares = {p: getattr(p, "trained_for", 1.0) for p in net.parameters()}
        self._ends = {p: math.ceil(share * steps) for p, share in shares.items() if share < 1.0}
        self._steps = steps
        self.changes = sorted(set(self._ends.values()))  # steps after which more are frozen
        self.go_to(0)

    def step(self) -> None:
        """Counts a step."""
        self._step += 1
        if self._step in self.changes:
            self.go_to(self._step)

    @property
    def state(self) -> int:
        """The step at which the current freeze state began."""
        return max((change for change in self.changes if change <= self._step), default=0)

    def go_to_midpoint(self) -> None:
        """Goes to the freeze state in the middle of the run."""
        self.go_to(self._steps // 2)

    def restore(self) -> None:
        """Restores the current freeze state after an outside change."""
        self.go_to(self._step)

    def go_to(self, step: int) -> None:
        """Goes to the freeze state after `step` steps."""
        self._step = step
        for parameter, end in self._ends.items():
            parameter.requires_grad_(step < end)
            if step >= end:
                parameter.grad = None
