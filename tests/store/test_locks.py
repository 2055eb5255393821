"""Locks: released when their holder ends; their holder is known; inspecting never takes them."""

import fcntl
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench.store import locks
from bench.store.files import StoreError
from bench.store.locks import current_holder, held, last_holder, note_of, serialized
from tests.checkout import ROOT

HOLDER = """
import sys
from pathlib import Path
from bench.store.locks import held
with held(Path(sys.argv[1]), notice=print):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_a_lock_is_released_after_an_error_and_a_reused_pid_holds_none(lock: Path) -> None:
    with suppress(RuntimeError), held(lock, notice=pytest.fail):
        holder = current_holder(lock)
        assert (holder.pid, holder.is_alive()) == (os.getpid(), True)
        raise RuntimeError
    assert last_holder(lock) is None
    with held(lock, notice=pytest.fail):
        pass
    with held(lock, notice=pytest.fail):
        holder = last_holder(lock)
    assert replace(holder, created=holder.created - 1000).is_alive() is False


@pytest.mark.parametrize("taken", [lambda path: held(path, notice=pytest.fail), serialized])
def test_a_lock_that_cannot_be_created_is_one_sentence(tmp_path: Path, taken: object) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(StoreError, match=r"cannot lock \S+: (Not a directory|File exists)"),
        taken(tmp_path / "file" / ".lock"),  # type: ignore[operator]
    ):
        pytest.fail("it was held")


def test_inspecting_a_lock_never_takes_it(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `bench check` must not make a starting `bench run` fail."""
    read, taken = locks.read_file, []

    def take_meanwhile(path: Path, most: int) -> bytes:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken.append(path)
        return read(path, most)

    with other_holder(lock) as process:
        process.kill()
        process.wait()
    monkeypatch.setattr(locks, "read_file", take_meanwhile)
    assert last_holder(lock) is not None
    assert current_holder(lock) is None
    assert len(taken) == 2


def test_a_killed_holder_is_reported_once_and_its_lock_is_free(lock: Path) -> None:
    assert current_holder(lock) is None
    with other_holder(lock) as process:
        holder = current_holder(lock)
        assert (holder.pid, holder.host) == (process.pid, platform.node())
        process.kill()
        process.wait()
        assert current_holder(lock) is None
        assert last_holder(lock) == holder
    notices: list[str] = []
    for _ in range(2):
        with held(lock, notice=notices.append):
            pass
    (line,) = notices
    assert f"was left locked by pid {process.pid} on " in line
    assert "taken over" in line


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_a_holder_on_another_host_may_be_alive(lock: Path, changes: dict[str, str]) -> None:
    """This host cannot know; only taking the lock decides."""
    with held(lock, notice=pytest.fail):
        holder = last_holder(lock)
    assert holder is not None
    elsewhere = replace(holder, **changes)
    note_of(lock).write_bytes(msgspec.json.encode(elsewhere))
    assert elsewhere.is_alive() is None
    assert current_holder(lock) == elsewhere
    notices: list[str] = []
    with held(lock, notice=notices.append):
        pass
    assert len(notices) == 1


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"pid": "x"}', b"x" * 10_000])
def test_an_invalid_note_is_ignored(lock: Path, note: bytes) -> None:
    note_of(lock).write_bytes(note)
    assert last_holder(lock) is None
    with held(lock, notice=pytest.fail):
        assert current_holder(lock) is not None


def test_waiting_reports_the_holder_of_a_lock(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    notices = []
    with other_holder(lock) as process:

        def notice(text: str) -> None:
            notices.append(text)
            process.communicate()  # its input ends, and so does it

        with held(lock, notice=notice, wait=True):
            holder = current_holder(lock)
            assert holder.pid == os.getpid()
    assert len(notices) == 1
    assert f"waiting for {lock.parent}: already running (pid {process.pid} on " in notices[0]


def test_serialized_blocks_run_one_at_a_time(lock: Path) -> None:
    entered = threading.Event()

    def work() -> None:
        with serialized(lock):
            entered.set()

    thread = threading.Thread(target=work)
    with serialized(lock):
        thread.start()
        assert not entered.wait(0.1)
    thread.join()
    assert entered.is_set()
