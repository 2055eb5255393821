"""Workers of this machine: runs that end badly, the timing lock, the first worker."""

import errno
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import process
from bench.executors import local
from bench.executors.base import Watcher
from bench.executors.local import (
    LocalExecutor,
    WarmStart,
    crash_place,
    tail,
    timing_lock,
    warm_start,
)
from bench.executors.protocol import Done, EpochDone, Worker
from bench.job import Job, RecordBuilder
from bench.machine import environment
from bench.machine.environment import Probe
from bench.process import signals_deferred
from bench.record import Record
from bench.store.files import StoreError
from tests.conftest import WorkerRuns
from tests.executors.conftest import alive, children, wait_until_gone
from tests.executors.fake_cluster import made_job, tiny_job, watcher
from tests.made import made_curve, made_run

pytestmark = pytest.mark.usefixtures("no_child_is_left")


def test_the_tail_of_a_log_is_short_whatever_it_holds(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("\n".join(map(str, range(100))))
    assert tail(tmp_path / "a.log", lines=2) == "98\n99"
    crash = "\n".join(["before", "Fatal Python error: Aborted", *map(str, range(100))])
    (tmp_path / "a.log").write_text(crash)
    assert tail(tmp_path / "a.log", lines=2) == "Fatal Python error: Aborted\n0"
    log = tmp_path / "log"
    log.write_bytes(b"first\n" + b"y" * 100_000_000 + b"the end")
    assert len(tail(log)) < 21_000
    assert tail(log).endswith("the end")


DUMP = """Fatal Python error: Segmentation fault

Thread 0x00007f3daa076b80 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x00007f3daa076b81 (most recent call first):
{frames}
Extension modules: numpy._core._multiarray_umath, torch._C (total: 23)
"""


@pytest.mark.parametrize(
    ("frames", "place"),
    [
        (
            '  File "/v/lib/python3.11/site-packages/nvidia/dali/pipeline.py", line 1462 in run\n'
            '  File "/opt/pipelines/dali.py", line 9 in take',
            "nvidia.dali (pipeline.py, line 1462)",
        ),
        (
            '  File "/v/site-packages/torch/autograd/graph.py", line 8 in run\n'
            '  File "/v/site-packages/torch/_tensor.py", line 5 in backward',
            "torch (graph.py, line 8)",
        ),
        (
            '  File "/home/me/mine.py", line 3 in epoch\n'
            '  File "/usr/lib/python3/dist-packages/cv2/__init__.py", line 2 in read',
            "cv2 (__init__.py, line 2)",
        ),
        ('  File "/home/me/mine.py", line 3 in epoch', ""),
    ],
)
def test_a_crash_is_told_with_the_library(frames: str, place: str) -> None:
    assert crash_place("before\n" + DUMP.format(frames=frames), "dali") == place
    assert crash_place(frames, "dali") == ""
    other = DUMP.format(frames=frames).replace("Current thread", "Thread")
    assert crash_place(other, "dali") == "a thread of a library, probably of the pipeline dali"


def acted(folder: Path, *parts: str, timeout_s: float = 60.0) -> list[Record]:
    jobs = [made_job(folder, part, seed) for seed, part in enumerate(parts)]
    return list(LocalExecutor(timeout_s=timeout_s).run(jobs, watcher()))


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize(
    ("cells", "workers"),
    [
        ([{}, {}, {"part": "fails"}, {}], [0, 0, 0, 1]),
        ([{"compile": True}, {"compile": True, "width": 0.5}], [0, 1]),
        ([{"compile": True}, {"compile": True, "optimizer": "adamw"}], [0, 0]),
        ([{"compile": True, "part": "has_no_graph"}] * 2, [0, 1]),
    ],
    ids=["a failure", "another model", "the same model", "a failed capture"],
)
def test_a_worker_serves_until_a_run_fails_or_needs_another_model(
    tmp_path: Path, cells: list[dict[str, Any]], workers: list[int]
) -> None:
    jobs = [
        made_job(tmp_path, seed=seed, **{"part": "plays"} | cell) for seed, cell in enumerate(cells)
    ]
    found = list(LocalExecutor(timeout_s=60.0).run(jobs, watcher()))
    failed = [record.status != "ok" for record in found]
    assert failed == [cell.get("part") == "fails" for cell in cells]
    pids = [record.environment["pid"] for record in found]
    assert [list(dict.fromkeys(pids)).index(pid) for pid in pids] == workers
    assert not any(map(alive, pids))


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize("dies", [False, True])
def test_the_worker_after_the_present_one_is_started_ahead(tmp_path: Path, dies: bool) -> None:
    before = children()
    executor = LocalExecutor(timeout_s=60.0, prestart=True)
    jobs = [made_job(tmp_path, "plays", width=width, compile=True) for width in (1.0, 0.5, 0.25)]
    records = executor.run(jobs, watcher())
    first = next(records)
    (ahead,) = children() - before - {first.environment["pid"]}
    if dies:
        os.kill(ahead, signal.SIGKILL)
        wait_until_gone(ahead)
    second = next(records)
    assert second.status == "ok"
    assert (second.environment["pid"] == ahead) is not dies
    assert len(children() - before) == 2
    records.close()
    assert executor.interrupted() == []


@pytest.mark.usefixtures("actor")
def test_a_worker_that_died_between_runs_costs_none(tmp_path: Path) -> None:
    jobs = [
        made_job(tmp_path, part, seed) for seed, part in enumerate(("dies_afterwards", "plays"))
    ]
    executor = LocalExecutor(timeout_s=60.0)
    records = executor.run(jobs, watcher())
    first = next(records)
    executor.worker.process.wait(30)
    second = next(records)
    assert (first.status, second.status) == ("ok", "ok")
    assert first.environment != second.environment


WORKS = {
    "sleeps": "time.sleep(600)",
    "counts": "while True: sum(range(10**6))",
    "reads": "while True: open(__import__('os').__file__).read(); time.sleep(0.01)",
    "waits for a child that counts": "import subprocess; subprocess.run([sys.executable, '-c', "
    "'while True: sum(range(10**6))'])",
}


@pytest.mark.parametrize(
    ("work", "prestarted"), [("sleeps", True), *((work, False) for work in WORKS)]
)
def test_a_worker_that_does_not_start_is_waited_for_while_it_works(
    work: str,
    prestarted: bool,
    tmp_path: Path,
    worker_runs: WorkerRuns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 2.0)
    monkeypatch.setattr(process, "LOOK_S", 0.2)
    monkeypatch.setattr(process, "LEAST_CPU_S", 0.02)
    monkeypatch.setattr(local, "STARTUP_TIMEOUT_S", 4.0)
    worker_runs(f"import sys, time\n{WORKS[work]}")
    ahead = Worker.start("", tmp_path / "ahead.log") if prestarted else None
    executor = LocalExecutor(timeout_s=60.0, next_worker=ahead)
    (record,) = executor.run([made_job(tmp_path, "plays", 0)], watcher())
    assert record.status == "crashed"
    assert record.error is not None
    silent = "neither used the CPU nor read a file" in record.error.message
    assert silent is (work == "sleeps"), record.error.message
    assert silent or "no worker was ready within 4 s" in record.error.message


@pytest.mark.usefixtures("actor")
def test_a_run_that_takes_too_long_keeps_its_curve_and_its_log(tmp_path: Path) -> None:
    log = f"logs/{made_job(tmp_path, 'hangs').run.id}.log"
    (tmp_path / "logs").mkdir()
    (tmp_path / log).write_text("an earlier attempt")
    late, after = acted(tmp_path, "hangs", "plays", timeout_s=5.0)
    assert (late.status, after.status) == ("timeout", "ok")
    assert "took longer than 5 s" in late.error.message
    assert (late.error.log, late.error.traceback) == (log, "")
    assert (len(late.curve), len(after.curve)) == (1, 1)
    assert after.seed == 1


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("is_killed", "signal 9 SIGKILL (out of host memory?)"),
        ("babbles", "sent an invalid message"),
    ],
)
def test_a_broken_worker_says_how_and_is_replaced(tmp_path: Path, part: str, message: str) -> None:
    bad, good = acted(tmp_path, part, "plays")
    assert (bad.status, good.status) == ("crashed", "ok")
    assert message in bad.error.message


@pytest.mark.usefixtures("actor")
def test_a_dead_worker_is_noticed_though_its_child_holds_the_pipe(tmp_path: Path) -> None:
    (record,) = acted(tmp_path, "leaves_children")
    assert record.status == "crashed"
    assert "exit code 3" in record.error.message
    child = int(record.error.traceback.split()[-1])
    wait_until_gone(child)


@pytest.mark.usefixtures("actor")
def test_closing_in_the_middle_of_a_run_ends_it_and_gives_its_record(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(job: Job, *epoch: object) -> None:
        raise Stop

    executor = LocalExecutor(timeout_s=60.0)
    watcher = Watcher(started=lambda job: None, epoch=stop)
    records = executor.run([made_job(tmp_path, "hangs")], watcher)
    with pytest.raises(Stop):
        next(records)
    (cut_off,) = executor.interrupted()
    assert (cut_off.status, len(cut_off.curve)) == ("interrupted", 1)


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize("early", [False, True])
def test_a_log_that_cannot_be_written_is_told_before_the_run(
    early: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    worker = Worker.start("", Path(os.devnull)) if early else None
    executor = LocalExecutor(timeout_s=60.0, next_worker=worker)
    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(StoreError, match=r"cannot write \S+\.log: Read-only file system"):
        next(executor.run([made_job(tmp_path, "plays")], watcher()))


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_lock_is_waited_for_until_its_holder_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    other = lock.open()
    fcntl.flock(other, fcntl.LOCK_EX)
    entered = threading.Event()

    def wait() -> None:
        with timing_lock(lock):
            entered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not entered.wait(0.6)
    other.close()
    assert entered.wait(30)
    thread.join()


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    other = lock.open()
    fcntl.flock(other, fcntl.LOCK_EX)
    stop = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    give_up = threading.Timer(30.0, other.close)
    with signals_deferred():
        stop.start()
        give_up.start()
        with pytest.raises(KeyboardInterrupt), timing_lock(lock):
            raise AssertionError("it had to wait for the other's end")
    give_up.cancel()
    other.close()
    assert is_free(lock), "who was stopped holds nothing"


def test_a_lock_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for lock in (tmp_path / "link", tmp_path / "no" / "folder"):
        with (
            pytest.raises(StoreError, match=r"--exclusive-timing: .* cannot be locked"),
            timing_lock(lock),
        ):
            pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_run_that_asks_for_it_holds_the_timing_lock_until_its_record_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool
) -> None:
    class Plays(LocalExecutor):
        def _follow(self, job: Job, builder: RecordBuilder) -> object:
            yield EpochDone(point=made_curve(1, 100, 0.5)[0])
            yield Done(record=builder.record("ok"))

    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setattr(local, "timing_lock", lambda: timing_lock(lock))
    job = Job(run=made_run(), folder=str(tmp_path), data_dir="d", exclusive=exclusive)
    messages = Plays(timeout_s=9.0).follow(job, RecordBuilder(job=job))
    assert isinstance(next(messages), EpochDone)
    assert is_free(lock) is not exclusive
    assert isinstance(next(messages), Done)
    assert is_free(lock), "though nobody has asked for more"


HERE = Probe(torch="1", cuda_problem="tried here")
ANSWERS = """
import os, sys, time
print('{"type": "Probed", "probe": {"torch": "9", "cuda": false}}', flush=True)
time.sleep(600)
"""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be a GPU."""
    monkeypatch.setattr(environment, "DRIVERS", [__file__])


@pytest.mark.parametrize("may_have_gpu", [True, False])
def test_a_real_one_answers_as_the_probe_does_and_then_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_have_gpu: bool
) -> None:
    if may_have_gpu:
        monkeypatch.setattr(environment, "DRIVERS", [__file__])
    elif environment.probe_without_torch() is None:
        pytest.skip("this machine may have a GPU")
    found = warm_start(keep_worker=True)
    try:
        assert (found.worker is not None) is may_have_gpu
        assert found.probe == environment.probe()
        found.begin()
        pid = found.worker.process.pid
        executor = LocalExecutor(timeout_s=300.0, next_worker=found.take("cpu"))
        jobs = [tiny_job(tmp_path, seed) for seed in (0, 1)]
        records = []
        for record in executor.run(jobs, watcher()):
            assert executor.worker.process.pid == pid
            records.append(record)
        assert [record.status for record in records] == ["ok", "ok"]
        assert records[0].timings.import_s > 0
    finally:
        found.close()


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    "script",
    ["import os; os.kill(os.getpid(), 11)", "print('hello')", "import sys; sys.exit(3)"],
    ids=["crashes", "babbles", "ends"],
)
def test_one_that_does_not_answer_is_replaced_by_a_probe(
    script: str, worker_runs: WorkerRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "probe", lambda: HERE)
    worker_runs(script)
    found = warm_start(keep_worker=True)
    assert (found.probe, found.worker) == (HERE, None)


@pytest.mark.usefixtures("driver")
def test_a_slow_one_is_given_up(monkeypatch: pytest.MonkeyPatch, worker_runs: WorkerRuns) -> None:
    monkeypatch.setattr(local, "PROBE_TIMEOUT_S", 1.0)
    worker_runs("import time; time.sleep(600)")
    problem = "torch did not answer within 1 s"
    assert warm_start(keep_worker=True) == WarmStart(probe=Probe(cuda_problem=problem))


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("keep_worker", [True, False])
def test_one_that_is_silent_is_not_waited_for(
    keep_worker: bool, monkeypatch: pytest.MonkeyPatch, worker_runs: WorkerRuns
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 1.0)
    monkeypatch.setattr(process, "LOOK_S", 0.1)
    command = [sys.executable, str(worker_runs("import time; time.sleep(600)"))]
    monkeypatch.setattr(environment, "python_module", lambda name: command)
    assert "torch did not answer within" in warm_start(keep_worker=keep_worker).probe.cuda_problem


@pytest.mark.usefixtures("driver")
def test_a_stop_meanwhile_ends_it(monkeypatch: pytest.MonkeyPatch, worker_runs: WorkerRuns) -> None:
    def stopped(worker: Worker, *arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    worker_runs("import time; time.sleep(600)")
    monkeypatch.setattr(Worker, "receive", stopped)
    with pytest.raises(KeyboardInterrupt):
        warm_start(keep_worker=True)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("cuda", [False, True])
def test_one_not_taken_or_with_a_gpu_is_ended(cuda: bool, worker_runs: WorkerRuns) -> None:
    worker_runs(ANSWERS.replace("false", str(cuda).lower()))
    found = warm_start(keep_worker=True)
    assert found.probe == Probe(torch="9", cuda=cuda)
    assert found.worker is not None
    if cuda:
        assert found.take("cpu") is None
    found.close()
    assert found.worker is None
