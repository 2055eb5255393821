"""One run at a time on a host: who waits begins when the other has ended, however that ends."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.alone import alone_on_host
from bench.draft import Draft, Job
from bench.executors import local
from bench.executors.local import LocalExecutor
from bench.files import StoreError
from bench.messages import Done, EpochDone
from bench.signals import stops_held
from tests.made import made_curve, made_run

HOLDS = """
import sys, time
from pathlib import Path
from bench.alone import alone_on_host
with alone_on_host(Path(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(600)
"""


def test_the_turn_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    other = subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert select.select([other.stdout], [], [], 60)[0]
    began = threading.Event()

    def wait() -> None:
        with alone_on_host(lock):
            began.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not began.wait(0.6)
    other.kill()
    other.wait()
    assert began.wait(30)
    thread.join()


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    other = lock.open()
    fcntl.flock(other, fcntl.LOCK_EX)
    stop = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    give_up = threading.Timer(30.0, other.close)
    with stops_held():
        stop.start()
        give_up.start()
        with pytest.raises(KeyboardInterrupt), alone_on_host(lock):
            raise AssertionError("it had to wait for the other's end")
    give_up.cancel()
    other.close()
    assert is_free(lock), "who was stopped holds nothing"


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_lock_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for lock in (tmp_path / "link", tmp_path / "no" / "folder"):
        with (
            pytest.raises(StoreError, match=r"--exclusive-timing: .* cannot be locked"),
            alone_on_host(lock),
        ):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_runs_that_ask_for_it_are_trained_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(local, "alone_on_host", lambda: alone_on_host(lock))
    spans: list[tuple[str, float]] = []

    class Plays(LocalExecutor):
        def _follow(self, job: Job, draft: Draft) -> object:  # type: ignore[override]
            spans.append(("begin", time.monotonic()))
            yield EpochDone(point=made_curve(1, 100, 0.5)[0])
            time.sleep(0.3)
            spans.append(("end", time.monotonic()))
            yield Done(record=draft.record("ok"))

    def train(alone: bool, statuses: list[str]) -> None:
        job = Job(run=made_run(), folder=str(tmp_path), data_dir="d", alone=alone)
        *_, done = Plays(timeout_s=9.0).follow(job, Draft(job=job))
        assert isinstance(done, Done)
        statuses.append(done.record.status)

    def overlap(alone: bool) -> bool:
        spans.clear()
        statuses: list[str] = []
        threads = [threading.Thread(target=train, args=(alone, statuses)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == ["ok", "ok"]
        ends = sorted(moment for kind, moment in spans if kind == "end")
        begins = sorted(moment for kind, moment in spans if kind == "begin")
        return begins[1] < ends[0]

    assert overlap(alone=False)
    assert not overlap(alone=True)


def test_the_turn_is_over_when_the_record_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(local, "alone_on_host", lambda: alone_on_host(lock))
    job = Job(run=made_run(), folder=str(tmp_path), data_dir="d", alone=True)

    class Plays(LocalExecutor):
        def _follow(self, job: Job, draft: Draft) -> object:  # type: ignore[override]
            yield Done(record=draft.record("ok"))

    messages = Plays(timeout_s=9.0).follow(job, Draft(job=job))
    assert isinstance(next(messages), Done)
    assert is_free(lock), "though nobody has asked for more"
