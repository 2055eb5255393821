"""Machines of every kind, on which `shapes` is there and nothing is trained."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.executors import runner as executing
from bench.grid import plan as planning
from bench.machine.environment import Probe
from tests.made_device import device_is

NO_GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda_problem="Found no NVIDIA driver on your system"
)
GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda=True, gpu="NVIDIA H100", capability="9.0",
    memory_gib=79.2, bf16=True, compiler=True,
)  # fmt: skip


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Probe], None]:
    """Gives what makes this machine another; whoever trains fails the test."""
    tmp_path.mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    made = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=lambda *args, **kwargs: ("shapes", ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", made)
    monkeypatch.setattr(executing, "LocalExecutor", lambda **_: pytest.fail("it trained"))

    def be(probe: Probe) -> None:
        device_is(monkeypatch, probe)

    return be
