"""Runs that end badly: each becomes a row with its reason, and the others go on.

One run at a time on a host: who waits begins when the other has ended, however that ends.
"""

import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.executors import local, protocol
from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor, tail, timing_lock
from bench.executors.protocol import (
    Done,
    EpochDone,
    Worker,
    WorkerLost,
    cause_of_death,
    read_message,
)
from bench.job import Job, RecordBuilder
from bench.process import signals_deferred
from bench.record import Record
from bench.store.files import StoreError
from tests.made import made_curve, made_run


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_cause_of_death_names_the_signal() -> None:
    assert "signal 11 SIGSEGV" in cause_of_death(-signal.SIGSEGV)
    assert "out of host memory?" in cause_of_death(-signal.SIGKILL)
    assert "exit code 3" in cause_of_death(3)


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("\n".join(map(str, range(100))))
    assert tail(tmp_path / "a.log", lines=2) == "98\n99"
    crash = "\n".join(["before", "Fatal Python error: Aborted", *map(str, range(100))])
    (tmp_path / "a.log").write_text(crash)
    assert tail(tmp_path / "a.log", lines=2) == "Fatal Python error: Aborted\n0"
    assert os.getpid() not in children_of(os.getpid())


ACTOR = """
import os, subprocess, sys, time
from bench.job import RecordBuilder
from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.record import CAPTURE_FAILED, LAUNCHED, Failure
from tests.made import made_curve

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
send(out, Ready(import_s=0.0))
for line in sys.stdin.buffer:
    job = read_job(line)
    part = job.run.cell.architecture
    draft = RecordBuilder(job=job)
    draft.environment = {"pid": os.getpid(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
    draft.curve += made_curve(1, 100, 0.5)
    send(out, EpochDone(point=draft.curve[0]))
    if part == "hangs":
        time.sleep(600)
    if part == "naps":
        time.sleep(0.4)
    if part == "babbles":
        out.write(b"Hello!\\n")
        out.flush()
        time.sleep(600)
    if part == "leaves_children":
        child = subprocess.Popen(["sleep", "600"], stdout=out)
        print("child", child.pid, flush=True)
        os._exit(3)
    if part == "is_killed":
        os.kill(os.getpid(), 9)
    if part == "has_no_graph":
        draft.stepping = LAUNCHED + CAPTURE_FAILED
    if part == "fails":
        send(out, Done(record=draft.record("crashed", Failure(type="E", message="boom"))))
        break
    send(out, Done(record=draft.record("ok")))
    if part == "dies_afterwards":
        os._exit(0)
"""


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a worker that plays the part its cell's architecture names in the real one's place."""
    script = tmp_path / "actor.py"
    script.write_text(ACTOR)
    monkeypatch.setattr(protocol, "python_module", lambda name: [sys.executable, str(script)])


def made_job(folder: Path, part: str, seed: int = 0, **cell: object) -> Job:
    return Job(run=made_run(seed, architecture=part, **cell), folder=str(folder), data_dir="d")


def quiet() -> Watcher:
    return Watcher(started=lambda job: None, epoch=lambda job, point: None)


def acted(folder: Path, *parts: str, timeout_s: float = 60.0) -> list[Record]:
    jobs = [made_job(folder, part, seed) for seed, part in enumerate(parts)]
    return list(LocalExecutor(timeout_s=timeout_s).run(jobs, quiet()))


@pytest.mark.usefixtures("actor")
def test_a_worker_serves_until_a_run_fails(tmp_path: Path) -> None:
    found = acted(tmp_path, "plays", "plays", "fails", "plays")
    assert [record.status for record in found] == ["ok", "ok", "crashed", "ok"]
    pids = [record.environment["pid"] for record in found]
    assert pids[0] == pids[1] == pids[2] != pids[3]
    assert not any(map(alive, pids))


@pytest.mark.usefixtures("actor")
def test_another_compiled_net_gets_another_worker(tmp_path: Path) -> None:
    jobs = [
        made_job(tmp_path, "plays", compile=True),
        made_job(tmp_path, "plays", optimizer="adamw", compile=True),
        made_job(tmp_path, "plays", width=0.5, compile=True),
    ]
    found = list(LocalExecutor(timeout_s=60.0).run(jobs, quiet()))
    pids = [record.environment["pid"] for record in found]
    assert pids[0] == pids[1] != pids[2]


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize("dies", [False, True])
def test_the_worker_after_the_present_one_is_started_ahead(tmp_path: Path, dies: bool) -> None:
    before = set(children_of(os.getpid()))
    executor = LocalExecutor(timeout_s=60.0, prestart=True)
    jobs = [made_job(tmp_path, "plays", width=width, compile=True) for width in (1.0, 0.5, 0.25)]
    records = executor.run(jobs, quiet())
    first = next(records)
    (ahead,) = set(children_of(os.getpid())) - before - {first.environment["pid"]}
    if dies:
        os.kill(ahead, signal.SIGKILL)
        wait_until_gone(ahead)
    second = next(records)
    assert second.status == "ok"
    assert (second.environment["pid"] == ahead) is not dies
    assert len(set(children_of(os.getpid())) - before) == 2
    records.close()
    assert set(children_of(os.getpid())) == before


@pytest.mark.usefixtures("actor")
def test_a_worker_that_died_between_runs_costs_none(tmp_path: Path) -> None:
    jobs = [
        made_job(tmp_path, part, seed) for seed, part in enumerate(("dies_afterwards", "plays"))
    ]
    executor = LocalExecutor(timeout_s=60.0)
    records = executor.run(jobs, quiet())
    first = next(records)
    assert executor.worker is not None
    executor.worker.process.wait(30)
    second = next(records)
    assert (first.status, second.status) == ("ok", "ok")
    assert first.environment != second.environment


@pytest.mark.usefixtures("actor")
def test_a_run_that_takes_too_long_keeps_its_curve_and_the_next_hears_nothing_of_it(
    tmp_path: Path,
) -> None:
    late, after = acted(tmp_path, "hangs", "plays", timeout_s=3.0)
    assert (late.status, after.status) == ("timeout", "ok")
    assert late.error is not None
    assert late.error.message == "took longer than 3 s and was stopped (--timeout)"
    assert (len(late.curve), len(after.curve)) == (1, 1)
    assert after.seed == 1


@pytest.mark.usefixtures("actor")
def test_a_worker_that_sends_nonsense_is_ended(tmp_path: Path) -> None:
    bad, good = acted(tmp_path, "babbles", "plays")
    assert (bad.status, good.status) == ("crashed", "ok")
    assert bad.error is not None
    assert "sent an invalid message" in bad.error.message


@pytest.mark.usefixtures("actor")
def test_a_dead_worker_is_noticed_though_its_child_holds_the_pipe_and_both_are_ended(
    tmp_path: Path,
) -> None:
    (record,) = acted(tmp_path, "leaves_children")
    assert record.status == "crashed"
    assert record.error is not None
    assert "exit code 3" in record.error.message
    child = int(record.error.traceback.split()[-1])
    wait_until_gone(child)


@pytest.mark.usefixtures("actor")
def test_a_worker_whose_capture_failed_is_not_used_again(tmp_path: Path) -> None:
    jobs = [made_job(tmp_path, "has_no_graph", seed, compile=True) for seed in range(2)]
    records = list(LocalExecutor(timeout_s=60.0).run(jobs, quiet()))
    assert [record.status for record in records] == ["ok", "ok"]
    assert len({record.environment["pid"] for record in records}) == 2


@pytest.mark.usefixtures("actor")
def test_a_worker_that_is_killed_says_by_what_and_the_next_run_gets_another(
    tmp_path: Path,
) -> None:
    bad, good = acted(tmp_path, "is_killed", "plays")
    assert (bad.status, good.status) == ("crashed", "ok")
    assert bad.error is not None
    assert "signal 9 SIGKILL (out of host memory?)" in bad.error.message


@pytest.mark.usefixtures("actor")
def test_a_log_is_of_the_latest_attempt(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    job = made_job(tmp_path, "hangs")
    (logs / f"{job.run.id}.log").write_text("what the first attempt said")
    (record,) = acted(tmp_path, "hangs", timeout_s=2.0)
    assert record.error is not None
    assert record.error.log == f"logs/{job.run.id}.log"
    assert record.error.traceback == ""


@pytest.mark.usefixtures("actor")
def test_closing_in_the_middle_of_a_run_ends_it_and_gives_its_record(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    before = set(children_of(os.getpid()))

    def stop(job: Job, point: object) -> None:
        raise Stop

    executor = LocalExecutor(timeout_s=60.0)
    watcher = Watcher(started=lambda job: None, epoch=stop)
    records = executor.run([made_job(tmp_path, "hangs")], watcher)
    with pytest.raises(Stop):
        next(records)
    (cut_off,) = executor.interrupted()
    assert (cut_off.status, len(cut_off.curve)) == ("interrupted", 1)
    assert set(children_of(os.getpid())) == before


@pytest.mark.usefixtures("actor")
@pytest.mark.parametrize("early", [False, True])
def test_a_log_that_cannot_be_written_is_told_before_the_run(
    early: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    before = set(children_of(os.getpid()))
    worker = Worker.start("", Path(os.devnull)) if early else None
    executor = LocalExecutor(timeout_s=60.0, next_worker=worker)
    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(StoreError, match=r"cannot write \S+\.log: Read-only file system"):
        next(executor.run([made_job(tmp_path, "plays")], quiet()))
    assert set(children_of(os.getpid())) == before


@pytest.mark.usefixtures("actor")
def test_between_runs_nothing_is_cut_off(tmp_path: Path) -> None:
    before = set(children_of(os.getpid()))
    executor = LocalExecutor(timeout_s=60.0)
    records = executor.run([made_job(tmp_path, "plays", seed) for seed in (0, 1)], quiet())
    next(records)
    records.close()
    assert executor.interrupted() == []
    assert set(children_of(os.getpid())) == before


@pytest.fixture
def stubborn() -> Iterator[Worker]:
    """A worker that ignores SIGTERM."""
    # One write, also where Python does not buffer what it prints.
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.write(1, b'1\\n')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(600)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    yield Worker(process=process, key="")
    process.kill()
    process.wait()


def test_a_worker_that_ignores_the_request_is_killed(
    stubborn: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "TERM_GRACE_S", 0.2)
    with pytest.raises(WorkerLost, match="invalid message"):
        stubborn.receive(read_message, time.monotonic() + 60)
    stubborn.stop()
    assert stubborn.process.returncode == -signal.SIGKILL
    stubborn.stop()


def test_who_was_asleep_beyond_the_deadline_reads_first_what_came_meanwhile(
    stubborn: Worker,
) -> None:
    assert stubborn.process.stdout is not None
    select.select([stubborn.process.stdout], [], [], 60)
    assert stubborn.receive(bytes.decode, time.monotonic() - 3600) == "1"
    with pytest.raises(TimeoutError):
        stubborn.receive(bytes.decode, time.monotonic() - 3600)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_start_with_the_settings_unless_the_user_has_set_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    worker = Worker.start("key", tmp_path / "log", module="code")  # waits for input
    try:
        environment, deadline = Path(f"/proc/{worker.process.pid}/environ"), time.monotonic() + 30
        while not (text := environment.read_text()):  # the new program is not laid out yet
            assert time.monotonic() < deadline
        found = text.split("\0")
    finally:
        worker.stop()
    assert "MALLOC_MMAP_MAX_=0" in found
    assert "OMP_WAIT_POLICY=ACTIVE" in found


HOLDS = """
import sys, time
from pathlib import Path
from bench.executors.local import timing_lock
with timing_lock(Path(sys.argv[1])):
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
        with timing_lock(lock):
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
    with signals_deferred():
        stop.start()
        give_up.start()
        with pytest.raises(KeyboardInterrupt), timing_lock(lock):
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
            timing_lock(lock),
        ):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_runs_that_ask_for_it_are_trained_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(local, "timing_lock", lambda: timing_lock(lock))
    spans: list[tuple[str, float]] = []

    class Plays(LocalExecutor):
        def _follow(self, job: Job, draft: RecordBuilder) -> object:  # type: ignore[override]
            spans.append(("begin", time.monotonic()))
            yield EpochDone(point=made_curve(1, 100, 0.5)[0])
            time.sleep(0.3)
            spans.append(("end", time.monotonic()))
            yield Done(record=draft.record("ok"))

    def train(alone: bool, statuses: list[str]) -> None:
        job = Job(run=made_run(), folder=str(tmp_path), data_dir="d", exclusive=alone)
        *_, done = Plays(timeout_s=9.0).follow(job, RecordBuilder(job=job))
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
    monkeypatch.setattr(local, "timing_lock", lambda: timing_lock(lock))
    job = Job(run=made_run(), folder=str(tmp_path), data_dir="d", exclusive=True)

    class Plays(LocalExecutor):
        def _follow(self, job: Job, draft: RecordBuilder) -> object:  # type: ignore[override]
            yield Done(record=draft.record("ok"))

    messages = Plays(timeout_s=9.0).follow(job, RecordBuilder(job=job))
    assert isinstance(next(messages), Done)
    assert is_free(lock), "though nobody has asked for more"
