"""A device that is whatever a test says."""

import pytest

from bench import environment
from bench.environment import Probe
from bench.executors import early
from bench.executors.early import Early


def device_is(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """No process tries the device, nor is a worker hired for it: this is what it can do."""
    monkeypatch.setattr(environment, "probe", lambda: probe)
    monkeypatch.setattr(early, "begin", lambda *, hire: Early(probe=probe))
