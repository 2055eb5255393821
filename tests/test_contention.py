"""The processor's counters: read as Linux writes them, and with real work of others."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import contention
from bench.contention import CpuWatch, Ticks, read_ticks, session_ticks

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
    monkeypatch.setattr(contention, "read_ticks", lambda: None)
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
    monkeypatch.setattr(contention, "read_ticks", lambda: next(ticks))
    found = CpuWatch().shares()
    assert (found and (found.others, found.idle, found.stolen)) == shares


@pytest.fixture
def neighbours() -> Iterator[None]:
    """As many busy processes of another session as there are cores."""
    command = [sys.executable, "-c", BUSY]
    running = [subprocess.Popen(command, start_new_session=True) for _ in os.sched_getaffinity(0)]
    yield
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
@pytest.mark.usefixtures("neighbours")
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
    monkeypatch.setattr(contention, "read_ticks", lambda: next(ticks))
    found = CpuWatch().shares()
    assert found is not None
    assert found.waited == 25.0
