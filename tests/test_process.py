"""Stop signals raise or are deferred, programs end at once, no process is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from bench.executors.protocol import Worker
from bench.machine import environment
from bench.process import (
    MARK,
    STOP_SIGNALS,
    kill_marked,
    marked_processes,
    new_mark,
    signals_allowed,
    signals_deferred,
    signals_raise,
    tolerate_full_disk,
)
from tests import checkout
from tests.conftest import WorkerRuns

Context = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_a_stop_raises_as_ctrl_c_does(stop: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), signals_raise():
        os.kill(os.getpid(), stop)


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_handlers_are_put_back_after_an_error(stop: signal.Signals) -> None:
    before = signal.getsignal(stop)
    for context in (signals_raise, signals_deferred):
        with suppress(RuntimeError), context():
            assert signal.getsignal(stop) is not before
            raise RuntimeError
        assert signal.getsignal(stop) is before


@pytest.mark.parametrize("context", [signals_raise, signals_deferred])
def test_what_nohup_ignores_stays_ignored(context: Context) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with context():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_is_deferred_until_the_outer_block_ends_also_beside_threads() -> None:
    done: list[str] = []
    over = threading.Event()
    idle = [threading.Thread(target=over.wait) for _ in range(4)]
    for thread in idle:
        thread.start()
    try:
        for stop in STOP_SIGNALS * 5:
            done.clear()
            with suppress(KeyboardInterrupt), signals_raise():
                with signals_deferred():
                    with signals_deferred():
                        os.kill(os.getpid(), stop)
                        time.sleep(0.001)
                        done.append("inner")
                    done.append("outer")
                done.append("went on")
            assert done == ["inner", "outer"]
    finally:
        over.set()


def test_a_deferred_stop_does_not_hide_the_error_of_the_block() -> None:
    def fail() -> None:
        with signals_raise(), signals_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("the disk is full")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, RuntimeError)


@pytest.mark.parametrize("stop", STOP_SIGNALS)
def test_a_wait_lets_one_stop_through_and_defers_the_next(stop: signal.Signals) -> None:
    events: list[str] = []
    with suppress(KeyboardInterrupt), signals_raise():
        with signals_deferred():
            try:
                with signals_allowed():
                    os.kill(os.getpid(), stop)
                    events.append("went on")
            except KeyboardInterrupt:
                events.append("stopped")
            with signals_allowed():
                events.append("waited again")
            events.append("through")
            os.kill(os.getpid(), stop)
        events.append("went on")
    assert events == ["stopped", "waited again", "through"]


@pytest.mark.parametrize("earlier", [True, False])
def test_an_earlier_stop_raises_in_the_wait_or_at_the_end(earlier: bool) -> None:
    events: list[str] = []
    with suppress(KeyboardInterrupt), signals_raise(), signals_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(KeyboardInterrupt), signals_allowed(earlier=earlier):
            events.append("waited")
        events.append("written")
    assert events == (["written"] if earlier else ["waited", "written"])


def test_signals_allowed_does_nothing_outside_a_deferral_and_in_threads() -> None:
    with signals_allowed():
        pass
    seen: list[bool] = []

    def wait() -> None:
        with signals_allowed():
            seen.append(True)

    with suppress(KeyboardInterrupt), signals_raise(), signals_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert seen == [True]


PROGRAM = """
import atexit, sys, threading, time
from bench.process import exit_without_teardown

class Slow:
    def __del__(self):
        time.sleep(0.2)
        print("taken apart", flush=True)

kept = Slow()

def program():
    atexit.register(print, "a handler", end="")
    threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
    print("unflushed", end=" ")
    {last}

exit_without_teardown(program)
"""
DONE = "unflushed a thread\na handler"


@pytest.mark.parametrize(
    ("last", "code", "error"),
    [
        ("pass", 0, ""),
        ("sys.exit(130)", 130, ""),
        ("raise ValueError('boom')", 1, "ValueError: boom"),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
    ],
)
def test_only_a_program_that_fails_is_torn_down(last: str, code: int, error: str) -> None:
    done = checkout.python(PROGRAM.format(last=last))
    assert done.returncode == code
    assert error in done.stderr
    assert bool(error) == bool(done.stderr)
    assert done.stdout.startswith(DONE)
    assert done.stdout.endswith("taken apart\n") == bool(error)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

WORKER = """
import os, subprocess, sys, time
from bench.process import die_with_parent

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
from bench.executors import protocol

protocol.python_module = lambda name: [sys.executable, sys.argv[1]]
worker = protocol.Worker.start("key", Path(sys.argv[2]))
worker.process.stdout.readline()
print(worker.mark, flush=True)
time.sleep(600)
"""
OTHERS = 4  # the worker, its guard, and what it started


@pytest.fixture
def script(worker_runs: WorkerRuns) -> Path:
    """A worker that starts two processes, one of them in its own session."""
    return worker_runs(WORKER)


@pytest.fixture
def worker(script: Path, tmp_path: Path) -> Iterator[Worker]:
    started = Worker.start("key", tmp_path / "log")
    assert started.process.stdout.readline() == b"ready\n"
    yield started
    started.stop()


def wait_for_marked(mark: str, count: int) -> None:
    """Waits until this number of processes has the mark, which is readable only after exec."""
    deadline = time.monotonic() + 60
    while len(found := marked_processes(mark)) != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_stopping_a_worker_ends_processes_that_left_its_group(worker: Worker) -> None:
    wait_for_marked(worker.mark, OTHERS)
    worker.stop()
    assert marked_processes(worker.mark) == []


def test_children_of_a_dead_worker_end_without_its_parent(worker: Worker) -> None:
    worker.process.stdin.write(b"end\n")
    worker.process.stdin.flush()
    assert worker.process.wait(60) == 3
    wait_for_marked(worker.mark, 0)


@pytest.mark.parametrize("worker_too", [False, True])
def test_a_killed_parent_leaves_nothing(script: Path, tmp_path: Path, worker_too: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(script), str(tmp_path / "log")],
        env=environment.python_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    mark = parent.stdout.readline().strip()
    try:
        wait_for_marked(mark, OTHERS)
        if worker_too:  # a stopped worker can see to nothing itself
            os.kill(min(marked_processes(mark)), signal.SIGSTOP)
        parent.kill()
        parent.wait()
        wait_for_marked(mark, 0)
    finally:
        kill_marked(mark)


def test_only_processes_with_the_mark_are_killed() -> None:
    marks = new_mark(), new_mark()
    sleepers = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: mark}) for mark in marks
    ]
    try:
        kill_marked(marks[0])
        assert sleepers[0].wait(60) == -signal.SIGKILL
        assert marked_processes(marks[1]) == [sleepers[1].pid]
        kill_marked("")
        assert sleepers[1].poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_lines_are_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        stream = tolerate_full_disk(file.fileno())
        print("räksmörgås \udc80", file=stream)
        assert (tmp_path / "log").read_text() == "räksmörgås \\udc80\n"
        assert stream.fileno() == file.fileno()


def test_a_full_disk_is_no_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        stream = tolerate_full_disk(full)
        print("x" * 100_000, file=stream, flush=True)
        stream.flush()
    finally:
        os.close(full)
