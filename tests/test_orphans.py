"""No process is left behind: by a parent that is killed, by a worker that dies, in any group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import environment
from bench.executors import local
from bench.executors.local import Worker
from bench.orphans import MARK, end_marked, fresh_mark, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

WORKER = """
import os, subprocess, sys, time
from bench.orphans import die_with_parent

die_with_parent()
for alone in (False, True):
    subprocess.Popen(["sleep", "600"], start_new_session=alone)
print("ready", flush=True)
for line in sys.stdin:
    os._exit(3)
"""

PARENT = """
import sys, time
from pathlib import Path
from bench.executors import local

local.python_module = lambda name: [sys.executable, sys.argv[1]]
worker = local.Worker.start("key", Path(sys.argv[2]))
worker.process.stdout.readline()
print(worker.mark, flush=True)
time.sleep(600)
"""
OTHERS = 4  # the worker, its guard, and what it started


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker that starts two processes, one of them in a session of its own."""
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    monkeypatch.setattr(local, "python_module", lambda name: [sys.executable, str(path)])
    return path


@pytest.fixture
def worker(script: Path, tmp_path: Path) -> Iterator[Worker]:
    started = Worker.start("key", tmp_path / "log")
    assert started.process.stdout is not None
    assert started.process.stdout.readline() == b"ready\n"
    yield started
    started.stop()


def wait_until_none(mark: str) -> None:
    deadline = time.monotonic() + 60
    while marked(mark):
        assert time.monotonic() < deadline, marked(mark)
        time.sleep(0.02)


def test_a_stop_ends_what_left_the_group_too(worker: Worker) -> None:
    assert len(marked(worker.mark)) == OTHERS
    worker.stop()
    assert marked(worker.mark) == []


def test_what_a_worker_that_died_had_started_is_ended_without_its_parent(worker: Worker) -> None:
    assert worker.process.stdin is not None
    worker.process.stdin.write(b"end\n")
    worker.process.stdin.flush()
    assert worker.process.wait(60) == 3
    wait_until_none(worker.mark)


def test_a_guard_does_not_keep_the_pipe_of_its_worker_open(worker: Worker) -> None:
    assert worker.process.stdin is not None
    assert worker.process.stdout is not None
    children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    guard = int(children.read_text().split()[0])
    pipe = Path(f"/proc/self/fd/{worker.process.stdout.fileno()}").readlink()
    deadline = time.monotonic() + 60
    while pipe in {path.readlink() for path in Path(f"/proc/{guard}/fd").glob("[012]")}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("worker_too", [False, True])
def test_a_parent_that_is_killed_leaves_nothing(
    script: Path, tmp_path: Path, worker_too: bool
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(script), str(tmp_path / "log")],
        env=environment.python_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    mark = parent.stdout.readline().strip()
    try:
        assert len(marked(mark)) == OTHERS
        if worker_too:  # a stopped worker can see to nothing itself
            os.kill(min(marked(mark)), signal.SIGSTOP)
        parent.kill()
        parent.wait()
        wait_until_none(mark)
    finally:
        end_marked(mark)


def test_only_those_of_one_mark_are_ended() -> None:
    marks = fresh_mark(), fresh_mark()
    sleepers = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: mark}) for mark in marks
    ]
    try:
        end_marked(marks[0])
        assert sleepers[0].wait(60) == -signal.SIGKILL
        assert marked(marks[1]) == [sleepers[1].pid]
        end_marked("")
        assert sleepers[1].poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
