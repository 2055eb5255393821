"""Isolates libraries that draw from torch's global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomStream:
    """A stream of random numbers for code that uses the global generators.

    Inside `drawing`, the global generators of the CPU and of `device` continue this stream;
    outside they are unchanged.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        before = self._states()
        torch.default_generator.manual_seed(seed)
        if self._cuda is not None:
            torch.cuda.manual_seed(seed)
        self._own = self._states()
        self._set(before)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """The `with` block draws from this stream."""
        before = self._states()
        self._set(self._own)
        try:
            yield
        finally:
            self._own = self._states()
            self._set(before)

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._cuda is not None:
            states.append(torch.cuda.get_rng_state(self._cuda))
        return states

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._cuda is not None:
            torch.cuda.set_rng_state(states[1], self._cuda)
