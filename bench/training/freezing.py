"""Parameters that train for a part of a run only."""

import math

from torch import nn


def trained_parameters(net: nn.Module) -> int:
    """Numbers that training changes, in a part of the run at least."""
    return sum(
        parameter.numel()
        for parameter in net.parameters()
        if parameter.requires_grad or hasattr(parameter, "trained_for")
    )


class Freezing:
    """Stops the training of parameters when their share of a run is over.

    A net names the share by the attribute `trained_for` of a parameter. From then on backward
    passes spare themselves what only that parameter needs. A compiled net is compiled anew for
    each such state, which a warm-up can bring about by `go_to`.

    Args:
        net: Its parameters that have the attribute are made trainable.
        steps: Of the whole run.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        shares = {p: getattr(p, "trained_for", 1.0) for p in net.parameters()}
        self._ends = {p: math.ceil(share * steps) for p, share in shares.items() if share < 1.0}
        self._steps = steps
        self.changes = sorted(set(self._ends.values()))  # steps after which fewer are trained
        self.go_to(0)

    def count(self) -> None:
        """Counts a step that is done."""
        self._done += 1
        if self._done in self.changes:
            self.go_to(self._done)

    @property
    def state(self) -> int:
        """The last of the changes that are done, 0 before the first."""
        return max((change for change in self.changes if change <= self._done), default=0)

    def go_halfway(self) -> None:
        """Puts every parameter into the state of the middle of the run."""
        self.go_to(self._steps // 2)

    def renew(self) -> None:
        """Puts every parameter into the state that it has now, after others changed it."""
        self.go_to(self._done)

    def go_to(self, step: int) -> None:
        """Puts every parameter into the state that it has after `step` steps."""
        self._done = step
        for parameter, end in self._ends.items():
            parameter.requires_grad_(step < end)
            if step >= end:
                parameter.grad = None
