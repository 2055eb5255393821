"""A device that is whatever a test says."""

import pytest

from bench.executors import local
from bench.executors.local import WarmStart
from bench.machine import environment
from bench.machine.environment import Probe


def device_is(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """Replaces the probe, and the worker that would be started for it."""
    monkeypatch.setattr(environment, "probe", lambda: probe)
    monkeypatch.setattr(local, "warm_start", lambda *, keep_worker: WarmStart(probe=probe))
