"""A simulated machine: the device that a test chooses, and one source of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from bench.executors import local
from bench.executors.local import WarmStart
from bench.machine import cpu, environment
from bench.machine.environment import Probe
from pipelines.sources.base import Data, Images, SourceError

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)


def device_is(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """Replaces the probe and the worker that would make it; the CPU has no bf16."""
    monkeypatch.setattr(cpu, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(environment, "probe", lambda: probe)
    monkeypatch.setattr(local, "warm_start", lambda *, keep_worker: WarmStart(probe=probe))


class MadeData(Data):
    """Data with a short fingerprint."""

    fingerprint = "f00d"


def made_data(
    labels: Sequence[int], *, name: str = "shapes", classes: int = 10, size: int = 32
) -> Data:
    """Images without memory but with these labels, for what happens before training."""
    images = Images(
        images=torch.empty(len(labels), size, size, 3, dtype=torch.uint8, device="meta"),
        labels=torch.tensor(labels),
        classes=tuple(f"class {label}" for label in range(classes)),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        fingerprint="f00d",
    )
    return MadeData(name=name, train=images, test=images)


def source_is(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    folder: Path,
    source: str = "shapes",
    problem: str = "",
    images: int = 5000,
) -> None:
    """Replaces the sources that a module uses by a single one with ten classes."""

    def resolve(asked: str, data_dir: Path, report: Callable[[str], None]) -> tuple[str, str]:
        if asked not in ("auto", source):
            raise SourceError(f"unknown source {asked!r}: known is {source}")
        return source, problem

    sources = SimpleNamespace(
        default_data_dir=lambda: folder / "data",
        identify=lambda asked, data_dir: None,
        resolve=resolve,
        load=lambda name, data_dir, report: made_data([i % 10 for i in range(images)], name=name),
    )
    monkeypatch.setattr(module, "sources", sources)
