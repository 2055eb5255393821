"""Fixtures for tests of faults."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex

import pytest

from tests import checkout
from tests.cli.conftest import bench, machine, refused  # noqa: F401 - used as fixtures
from tests.faults.made import MARK, SHELL, Command, Start
from tests.faults.troubles import files
from tests.made_sources import MadeCifar, offline_cifar


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with the nets of `troubles.py` alone, as importing the others takes time."""
    folder = checkout.make(tmp_path_factory.mktemp("copy"), files())
    for path in folder.glob("architectures/[!_]*.py"):
        if f"architectures/{path.name}" not in files():
            path.unlink()
    return folder


@pytest.fixture
def start(copy: Path) -> Iterator[Start]:
    """Starts commands whose output goes into files of a folder, or to the given streams."""
    started: list[Command] = []

    def start(folder: Path, arguments: list[str], streams: Sequence[str] = ()) -> Command:
        folder.mkdir(exist_ok=True)
        files = [os.devnull, str(folder / "output"), str(folder / "problems")]
        line, environment = checkout.command(copy, *arguments)
        process = subprocess.Popen(
            [*SHELL, *(streams or files), *line],
            cwd=folder, env=environment | {MARK: (mark := token_hex(8))}, start_new_session=True,
        )  # fmt: skip
        started.append(Command(process=process, folder=folder, mark=mark))
        return started[-1]

    yield start
    for command in started:
        command.end()


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    return offline_cifar(monkeypatch, tmp_path)
