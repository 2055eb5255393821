"""The processor's counters: read as Linux writes them, and with real work of others.

Other runs on the host: those that worked are counted, those that only waited are not.

Light nets on a CPU compute with one thread, all others with as many as torch chooses.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from bench.machine import cpu
from bench.machine import cpu as module
from bench.machine.cpu import (
    AT_WORK,
    CpuWatch,
    OtherRunsWatch,
    Ticks,
    evaluation_threads,
    has_run_in_progress,
    read_ticks,
    run_in_progress,
    session_ticks,
    training_threads,
    worker_ticks,
)
from bench.process import MARK
from tests.made import made_cell

BUSY = "while True: pass"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc of three cores, of which two may be used, and three processes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    monkeypatch.setattr(os, "getsid", lambda pid: 40)
    (tmp_path / "stat").write_text(
        "cpu  999 999 999 999 999 999 999 999 0 0\n"
        "cpu0 10 1 2 100 5 3 4 6 0 0\n"
        "cpu1 900 900 900 900 900 900 900 900 0 0\n"
        "cpu2 20 0 0 200 0 0 0 1 0 0\n"
        "intr 1 2 3\n"
    )
    for pid, session, name in ((41, 40, "python"), (42, 7, "other"), (43, 40, "a ) name (")):
        (tmp_path / str(pid)).mkdir()
        fields = f"S 1 {pid} {session} 0 -1 0 0 0 0 0 5 6 7 8 20 0"
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) {fields}\n")
    for thread, line in (("41", "5000 70 3"), ("45", "1000 30 2")):
        (tmp_path / "self" / "task" / thread).mkdir(parents=True)
        (tmp_path / "self" / "task" / thread / "schedstat").write_text(line + "\n")
    (tmp_path / "44").mkdir()  # ended meanwhile
    (tmp_path / "uptime").write_text("1 2\n")
    return tmp_path


def test_counters_are_of_the_usable_cores_and_of_the_own_session(proc: Path) -> None:
    assert read_ticks(proc) == Ticks(
        busy=20 + 20, idle=105 + 200, stolen=7, own=2 * 26, ran_ns=6000, waited_ns=100
    )
    assert session_ticks(proc, 7) == 26
    assert session_ticks(proc, 8) == 0


def test_a_system_without_counters_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_ticks(tmp_path) is None
    monkeypatch.setattr(cpu, "read_ticks", lambda: None)
    assert CpuWatch().shares() is None


@pytest.mark.parametrize(
    ("after", "shares"),
    [
        (Ticks(busy=1150, idle=2040, stolen=10, own=600), (25.0, 20.0, 5.0)),
        (Ticks(busy=1150, idle=2050, stolen=0, own=700), (0.0, 25.0, 0.0)),
        (Ticks(busy=1050, idle=2040, stolen=0, own=500), None),
    ],
    ids=["others", "own is counted finer than the whole", "too short"],
)
def test_shares_of_what_went_by(
    after: Ticks, shares: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([Ticks(busy=1000, idle=2000, stolen=0, own=500), after])
    monkeypatch.setattr(cpu, "read_ticks", lambda: next(ticks))
    found = CpuWatch().shares()
    assert (found and (found.others, found.idle, found.stolen)) == shares


@pytest.fixture
def other_process() -> Iterator[None]:
    """As many busy processes of another session as there are cores."""
    command = [sys.executable, "-c", BUSY]
    running = [subprocess.Popen(command, start_new_session=True) for _ in os.sched_getaffinity(0)]
    yield
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
@pytest.mark.usefixtures("other_process")
def test_real_work_of_others_is_seen_and_own_children_are_not_others() -> None:
    watch = CpuWatch()
    own = subprocess.Popen([sys.executable, "-c", BUSY])
    until = time.perf_counter() + 1.5
    while time.perf_counter() < until:
        pass
    own.kill()
    own.wait()
    found = watch.shares()
    assert found is not None
    # How a system shares its cores between sessions is its own affair.
    assert 1.0 < found.others < 99.0
    assert found.idle < 50.0
    assert found.waited is not None


def test_how_long_a_process_waited_is_a_share_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Ticks(busy=0, idle=0, stolen=0, own=0, ran_ns=10, waited_ns=5)
    after = Ticks(busy=200, idle=0, stolen=0, own=100, ran_ns=85, waited_ns=30)
    ticks = iter([before, after])
    monkeypatch.setattr(cpu, "read_ticks", lambda: next(ticks))
    found = CpuWatch().shares()
    assert found is not None
    assert found.waited == 25.0


OWN = 40

Show = Callable[..., None]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Lets a process be seen in a /proc whose clock stands still until it is moved."""
    monkeypatch.setattr(os, "getsid", lambda pid: OWN)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").touch()
    (tmp_path / "uptime").write_text("1 2\n")

    def shown(pid: int, ticks: int, name: str, session: int | None = None) -> None:
        folder = tmp_path / str(pid)
        folder.mkdir(exist_ok=True)
        fields = f"S 1 {pid} {session or pid} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0"
        (folder / "stat").write_text(f"{pid} ({name}) {fields}\n")
        (folder / "comm").write_text(f"{name}\n")

    return shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, the last of which is now."""
    now = [100.0]
    monkeypatch.setattr(cpu.time, "monotonic", lambda: now[-1])
    monkeypatch.setattr(cpu, "TICKS_PER_S", 100)
    return now


def test_a_process_shows_that_it_is_at_work_as_long_as_it_is(tmp_path: Path) -> None:
    me = Path("/proc/self")
    if not (me / "comm").is_file():
        pytest.skip("known on Linux only")
    before = (me / "comm").read_text()
    with suppress(ValueError), run_in_progress():
        assert has_run_in_progress(me)
        raise ValueError
    assert (me / "comm").read_text() == before
    assert not has_run_in_progress(me)
    assert not has_run_in_progress(tmp_path / "ended meanwhile")


def test_what_a_worker_has_started_is_its_own(tmp_path: Path, show: Show) -> None:
    show(7, 10, AT_WORK)
    show(8, 5, AT_WORK, session=7)  # its guard, forked
    show(9, 4, "a ) name", session=7)
    show(10, 100, "python")
    show(OWN, 1000, AT_WORK)
    show(41, 1000, "python", session=OWN)
    assert worker_ticks(tmp_path) == {7: 19}


def test_who_worked_is_counted_and_who_waited_is_not(
    tmp_path: Path, show: Show, clock: list[float]
) -> None:
    show(7, 500, AT_WORK)
    show(8, 500, AT_WORK)
    show(OWN, 0, AT_WORK)
    watch = OtherRunsWatch(tmp_path)
    clock.append(110.0)
    show(7, 560, AT_WORK)
    show(8, 540, AT_WORK)  # 4 % of a core
    show(9, 300, AT_WORK)  # new: what it had used before it was seen says nothing of now
    show(OWN, 900, AT_WORK)
    watch.look()
    assert watch.count() == 1
    clock.append(120.0)
    show(7, 560, AT_WORK)  # it worked, though it rests now
    show(9, 400, AT_WORK)
    watch.look()
    assert watch.count() == 2


def test_a_few_ticks_in_a_moment_are_no_work(
    tmp_path: Path, show: Show, clock: list[float]
) -> None:
    show(7, 500, AT_WORK)
    watch = OtherRunsWatch(tmp_path)
    clock.append(100.02)
    show(7, 504, AT_WORK)
    watch.look()
    assert watch.count() == 0


def test_a_system_that_shows_no_processes_tells_nothing(tmp_path: Path) -> None:
    watch = OtherRunsWatch(tmp_path / "none")
    watch.look()
    assert watch.count() is None


@pytest.fixture
def beside() -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    started = []

    def start(code: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", code]
        started.append(
            subprocess.Popen(command, start_new_session=True, env=os.environ | {MARK: "beside"})
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_real_processes(beside: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
    working = "from bench.machine.cpu import run_in_progress\nwith run_in_progress():\n    "
    works = beside(f"{working}while True: pass").pid
    waits = beside(f"import time\n{working}time.sleep(600)").pid
    other = beside("while True: pass").pid
    watch = OtherRunsWatch()
    deadline = time.monotonic() + 30
    while works not in watch._worked and time.monotonic() < deadline:
        time.sleep(0.1)
        watch.look()
    assert works in watch._worked
    assert not {waits, other} & watch._worked
    assert (watch.count() or 0) >= 1


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("net", "scale", "device", "threads"),
    [
        ("cnn4", "cpu", "cpu", 1),
        ("cnn4", "full", "cpu", 3),
        ("cnn4", "full", "cuda", 3),
        ("resnet18", "cpu", "cpu", 3),
        ("timm:resnet10t", "cpu", "cpu", 3),  # nobody has counted its work
    ],
)
def test_threads_follow_net_scale_and_device(
    net: str, scale: str, device: str, threads: int
) -> None:
    with training_threads(made_cell(architecture=net, scale=scale, device=device)):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("scale", "asked", "threads"), [("cpu", "", 5), ("cpu", "2", 2), ("full", "2", 3)]
)
def test_evaluation_takes_all_cores_but_no_more_than_asked_for(
    scale: str, asked: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    cell = made_cell(architecture="cnn4", scale=scale, device="cpu")
    with training_threads(cell):
        within = torch.get_num_threads()
        with evaluation_threads(cell):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == within


@pytest.mark.usefixtures("three_threads")
def test_an_error_leaves_the_number_as_it_was() -> None:
    with pytest.raises(RuntimeError), training_threads(made_cell()):
        raise RuntimeError
    assert torch.get_num_threads() == 3
