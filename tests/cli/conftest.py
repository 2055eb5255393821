"""Fixtures for tests of the command line, called in process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app
from bench.executors import runner
from bench.grid import plan as planning
from bench.machine.environment import Probe
from pipelines.sources.base import SourceError
from tests.made_device import device_is

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
Bench = Callable[..., Result]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Calls `bench` with these words."""
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: CliRunner().invoke(app.app, list(words))


@pytest.fixture
def refused(bench: Bench) -> Callable[..., str]:
    """The sentence that a wrong command gets; it must be one line on standard error, exit 2."""

    def call(*words: str) -> str:
        done = bench(*words)
        assert done.exit_code == 2, (done.output, done.exception)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("bench: ")
        return str(line)

    return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU, on which `shapes` is the only source; nothing may be trained."""

    def resolve(asked: str, data_dir: Path, report: Callable[[str], None]) -> tuple[str, str]:
        if asked not in ("auto", "shapes"):
            raise SourceError(f"unknown source {asked!r}: known is shapes")
        return "shapes", ""

    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, NO_GPU)
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=resolve,
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", sources)
    monkeypatch.setattr(runner, "LocalExecutor", lambda **_: pytest.fail("it trained"))
