"""A machine that has what a test says: its device, and one source of images."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bench.executors import local
from bench.executors.local import WarmStart
from bench.machine import environment
from bench.machine.environment import Probe
from pipelines.sources.base import SourceError

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)


def device_is(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """Replaces the probe, and the worker that would be started for it."""
    monkeypatch.setattr(environment, "probe", lambda: probe)
    monkeypatch.setattr(local, "warm_start", lambda *, keep_worker: WarmStart(probe=probe))


class HundredImages:
    """What is asked of images before anything is trained on them."""

    fingerprint = "f00d"
    image_size = (32, 32)
    files = ()

    def __len__(self) -> int:
        return 100


def source_is(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    folder: Path,
    source: str = "shapes",
    problem: str = "",
) -> None:
    """Replaces the sources that a module uses by a single one of 100 images."""

    def resolve(asked: str, data_dir: Path, report: Callable[[str], None]) -> tuple[str, str]:
        if asked not in ("auto", source):
            raise SourceError(f"unknown source {asked!r}: known is {source}")
        return source, problem

    sources = SimpleNamespace(
        default_data_dir=lambda: folder / "data",
        resolve=resolve,
        load=lambda name, data_dir, report: SimpleNamespace(
            fingerprint="f00d", train=HundredImages()
        ),
    )
    monkeypatch.setattr(module, "sources", sources)
