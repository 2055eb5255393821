"""Locks: free when their holder ends, and whoever is refused or waits is told by whom."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.store import locks
from bench.store.files import StoreError
from bench.store.locks import held, serialized
from tests.checkout import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from bench.store.locks import held
with held(Path(sys.argv[1]), notice=print, shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path, how: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def never(text: str) -> None:
    pytest.fail(text)


def test_a_lock_is_free_again_after_an_error_and_empty(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with suppress(RuntimeError), held(path, notice=never):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        raise RuntimeError
    assert path.read_text() == ""
    with held(path, notice=never):
        pass


def test_a_lock_in_a_folder_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    for lock in (held(tmp_path / "a/b", notice=never), serialized(tmp_path / "a/b")):
        with pytest.raises(StoreError, match="No such file or directory"), lock:
            pytest.fail("there is nothing to hold")


def test_a_file_system_without_locks_is_one_sentence_that_says_where_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    told = r"cannot lock \S+: No locks available; keep results on .* \(--out\)$"
    with pytest.raises(StoreError, match=told), held(tmp_path / "a.lock", notice=print):
        pytest.fail("it was held")


def test_who_cannot_have_it_is_told_who_has_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        holder(path, "alone") as process,
        pytest.raises(StoreError, match=rf"already running \(pid {process.pid} on .*\): go away"),
        held(path, notice=never, advice=": go away"),
    ):
        pytest.fail("the lock was given twice")


@pytest.mark.parametrize(("theirs", "ours"), [("alone", True), ("shared", False)])
def test_who_shares_and_who_does_not_keep_each_other_out(
    tmp_path: Path, theirs: str, ours: bool
) -> None:
    path = tmp_path / ".lock"
    with (
        holder(path, theirs),
        pytest.raises(StoreError, match="is in use"),
        held(path, notice=never, shared=ours, others=lambda: "somebody"),
    ):
        pytest.fail("the lock was given to both")


def test_those_who_share_hold_it_together(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path, "shared"), held(path, notice=never, shared=True):
        assert path.read_text() == ""


def test_a_holder_that_was_killed_is_named_once_and_its_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path, "alone") as process:
        process.kill()
        process.wait()
        said: list[str] = []
        for shared in (True, False):
            with held(path, notice=said.append, shared=shared):
                pass
    (line,) = said
    assert f"was left locked by pid {process.pid} on " in line
    assert "taken over" in line


def test_who_waits_says_for_whom_and_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)
    path, said = tmp_path / ".lock", []
    with holder(path, "alone") as process:

        def told(text: str) -> None:
            said.append(text)
            process.communicate()  # its input ends, and so does it

        with held(path, notice=told, wait=True):
            assert json.loads(path.read_text())["pid"] == os.getpid()
    assert len(said) == 1
    assert f"waiting for {tmp_path}: already running (pid {process.pid} on " in said[0]


def test_short_works_come_one_after_the_other(tmp_path: Path) -> None:
    within, most = [], []

    def work() -> None:
        for _ in range(20):
            with serialized(tmp_path / ".lock"):
                within.append(1)
                most.append(len(within))
                within.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert set(most) == {1}
