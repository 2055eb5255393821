"""Fixtures for tests that call the command line in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.executors.local import LocalExecutor
from bench.grid import plan as planning
from tests.made_device import NO_GPU, device_is, source_is

Bench = Callable[..., Result]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Calls `bench` with the given words."""
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: CliRunner().invoke(app.app, list(words))


@pytest.fixture
def refused(bench: Bench) -> Callable[..., str]:
    """Returns the error of a wrong command: one line on standard error, with exit code 2."""

    def call(*words: str) -> str:
        done = bench(*words)
        assert done.exit_code == 2, (done.output, done.exception)
        assert all(line.startswith("planning ") for line in done.stdout.splitlines())
        (line,) = done.stderr.splitlines()
        assert line.startswith("bench: ")
        return str(line)

    return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU, on which `shapes` is the only source; nothing may be trained."""
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, NO_GPU)
    source_is(monkeypatch, planning, tmp_path)
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: pytest.fail("it trained"))
