"""A CIFAR-10 of a few images on a machine that reaches nothing beyond itself."""

from pathlib import Path

import numpy as np
import pytest

from pipelines import sources
from pipelines.sources import download
from tests.made_sources import MadeCifar, made_cifar, no_npm

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
GIVE_UP_S = 20.0


def cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    """Makes it; there is no npm, and mirrors are given up after half a second."""
    monkeypatch.setattr(download, "ANSWER_S", 1.0)
    monkeypatch.setattr(download, "STALL_S", 0.5)
    monkeypatch.setattr(download, "REPORT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    no_npm(monkeypatch)
    return made_cifar(monkeypatch)


def assert_loaded(made: MadeCifar, data_dir: Path) -> list[str]:
    """Loads CIFAR-10, compares it with what was made, and gives what was told."""
    told: list[str] = []
    data = sources.load("cifar10", data_dir, report=told.append)
    np.testing.assert_array_equal(data.train.images.numpy(), made.train.images)
    assert data.test.labels.tolist() == made.test.labels.tolist()
    return told
