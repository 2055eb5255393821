"""Fixtures for tests of what happens when things go wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sources import download
from tests.cli.conftest import bench, machine, refused  # noqa: F401 - used as fixtures
from tests.faults.made import Zygote, make_copy
from tests.made_sources import MadeCifar, made_cifar, no_npm


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts commands that train the nets of `troubles.py`."""
    made = Zygote(make_copy(tmp_path_factory.mktemp("copy")))
    yield made
    made.end()


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    """A CIFAR-10 of a few images; no npm, no network, and mirrors are given up soon."""
    monkeypatch.setattr(download, "ANSWER_S", 1.0)
    monkeypatch.setattr(download, "STALL_S", 0.5)
    monkeypatch.setattr(download, "REPORT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    no_npm(monkeypatch)
    return made_cifar(monkeypatch)
