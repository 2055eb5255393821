"""A device that is whatever a test says."""

import pytest

from bench.executors import warm_start
from bench.executors.warm_start import WarmStart
from bench.machine import environment
from bench.machine.environment import Probe


def device_is(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """No process tries the device, nor is a worker hired for it: this is what it can do."""
    monkeypatch.setattr(environment, "probe", lambda: probe)
    monkeypatch.setattr(warm_start, "start", lambda *, hire: WarmStart(probe=probe))
