"""Mirrors that hang, drip, reset or lead astray, and two that fetch at once.

The mirrors are servers on this machine.
"""

import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from pipelines import sources
from pipelines.sources import cifar
from pipelines.sources.errors import SourceError
from tests.faults.little_cifar import ARCHIVE, GIVE_UP_S, assert_loaded, cut_off
from tests.made_sources import MadeCifar
from tests.mirror import Mirror, serve


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    return cut_off(monkeypatch, tmp_path)


@pytest.fixture
def mirror(made: MadeCifar) -> Iterator[Mirror]:
    with serve(made.archive) as mirror:
        yield mirror


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments))


MISBEHAVIOUR = {
    "silent": "no answer in|it stopped answering",
    "stalls": "it stopped answering",
    "minute": "it stopped answering",
    "drips": "it gave [0-9]+ bytes in",
    "header": "it stopped answering",
    "slams": "reset",
    "resets": "reset|broke off",
    "circles": "it sends the reader in circles",
    "wanders": "it sends the reader in circles",
    "leaves": "HTTP status 302",
    "nowhere": "Invalid IPv6 URL",
    "html": "it gives a web page instead of the file",
    "page": "bytes instead of",
    "garbage": r"\?\[2J\?no HTTP at all",
    "gone": "HTTP status 404",
}


@pytest.mark.parametrize("manner", MISBEHAVIOUR)
def test_a_mirror_that_misbehaves_costs_seconds_and_the_next_one_is_taken(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """The reason is told, progress is shown, and the good mirror gives the file."""
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/{manner}")
    start = time.monotonic()
    with pytest.raises(SourceError) as failure:
        sources.load("cifar10", tmp_path)
    said = str(failure.value)
    assert re.search(MISBEHAVIOUR[manner], said), said
    assert said.isprintable()
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/{manner} {mirror.url}/ok")
    told = assert_loaded(made, tmp_path)
    assert any(ARCHIVE in line and "MB" in line for line in told), told
    assert time.monotonic() - start < GIVE_UP_S
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    "address", ["http://[::1/x", "http://host:port/x", "file:///etc", "http://"]
)
def test_an_address_that_is_none_is_told_before_anything_is_asked(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A typo in the variable, exit code 2."""
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, address)
    done = bench("data", "cifar10", "--data-dir", str(tmp_path))
    assert done.exit_code == 2, done.output
    assert f"{cifar.MIRRORS_VARIABLE} holds {address!r}" in done.stderr
    assert "Traceback" not in done.output


# Two processes at once. They are forked before the mirror starts its threads.


def fetch_when_told(data_dir: Path, asked: Any, said: Any) -> None:
    os.environ[cifar.MIRRORS_VARIABLE] = asked.recv()
    data = sources.load("cifar10", data_dir, report=said.send)
    said.send(("done", data.fingerprint))


@contextmanager
def fetching(data_dir: Path) -> Iterator[tuple[Any, Any, Any]]:
    """A process that fetches CIFAR-10 as soon as it is sent the mirror's address."""
    context = multiprocessing.get_context("fork")
    (asked, ask), (said, say) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=fetch_when_told, args=(data_dir, asked, say), daemon=True)
    process.start()
    try:
        yield process, ask, said
    finally:
        process.kill()
        process.join(GIVE_UP_S)


def told_until(said: Any, word: str) -> Any:
    while said.poll(GIVE_UP_S):
        item = said.recv()
        if word in (item if isinstance(item, str) else item[0]):
            return item
    return pytest.fail(f"{word!r} was never told")


def test_of_two_processes_one_fetches_and_the_other_waits(made: MadeCifar, tmp_path: Path) -> None:
    """The same source at once is downloaded once, and both get it."""
    with (
        fetching(tmp_path) as (_, ask_one, one),
        fetching(tmp_path) as (_, ask_two, two),
        serve(made.archive) as mirror,
    ):
        for ask in (ask_one, ask_two):
            ask.send(f"{mirror.url}/ok")
        ends = [told_until(said, "done") for said in (one, two)]
        assert mirror.downloads("ok") == [""]
    assert ends[0][1] == ends[1][1] == sources.load("cifar10", tmp_path).fingerprint


def test_a_fetch_that_is_killed_is_taken_over_by_the_one_that_waits(
    made: MadeCifar, tmp_path: Path
) -> None:
    """Kill -9 in the middle of a download; the other goes on from where it stopped."""
    with (
        fetching(tmp_path) as (first, ask_one, one),
        fetching(tmp_path) as (_, ask_two, two),
        serve(made.archive) as mirror,
    ):
        ask_one.send(f"{mirror.url}/halfway")
        told_until(one, "MB")
        part = tmp_path / "cache" / "cifar10" / f"{ARCHIVE}.part"
        deadline = time.monotonic() + GIVE_UP_S
        while not part.exists() or part.stat().st_size < len(made.archive) // 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ask_two.send(f"{mirror.url}/ok")
        told_until(two, "waiting for another process")
        first.kill()
        told_until(two, "done")
        assert mirror.downloads("ok") == [f"bytes={len(made.archive) // 2}-"]
    assert_loaded(made, tmp_path)
