"""Fixtures for tests of what happens when things go wrong."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex

import pytest

from tests.cli.conftest import bench, machine, refused  # noqa: F401 - used as fixtures
from tests.faults.made import Command, Start, make_copy, start_in
from tests.made_sources import MadeCifar, offline_cifar


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture
def start(copy: Path) -> Iterator[Start]:
    """Starts commands that train the nets of `troubles.py`; ends what they leave."""
    started: list[Command] = []

    def start(folder: Path, arguments: list[str], streams: Sequence[str] = ()) -> Command:
        started.append(start_in(copy, folder, arguments, list(streams), token_hex(8)))
        return started[-1]

    yield start
    for command in started:
        command.end()


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    return offline_cifar(monkeypatch, tmp_path)
