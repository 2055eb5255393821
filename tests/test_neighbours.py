"""Other runs on the host: those that worked are counted, those that only waited are not."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench import neighbours
from bench.neighbours import AT_WORK, NeighbourWatch, at_work, is_at_work, worker_ticks
from bench.orphans import MARK

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
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: now[-1])
    monkeypatch.setattr(neighbours, "TICKS_PER_S", 100)
    return now


def test_a_process_shows_that_it_is_at_work_as_long_as_it_is(tmp_path: Path) -> None:
    me = Path("/proc/self")
    if not (me / "comm").is_file():
        pytest.skip("known on Linux only")
    before = (me / "comm").read_text()
    with suppress(ValueError), at_work():
        assert is_at_work(me)
        raise ValueError
    assert (me / "comm").read_text() == before
    assert not is_at_work(me)
    assert not is_at_work(tmp_path / "ended meanwhile")


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
    watch = NeighbourWatch(tmp_path)
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
    watch = NeighbourWatch(tmp_path)
    clock.append(100.02)
    show(7, 504, AT_WORK)
    watch.look()
    assert watch.count() == 0


def test_a_system_that_shows_no_processes_tells_nothing(tmp_path: Path) -> None:
    watch = NeighbourWatch(tmp_path / "none")
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
    working = "from bench.neighbours import at_work\nwith at_work():\n    "
    works = beside(f"{working}while True: pass").pid
    waits = beside(f"import time\n{working}time.sleep(600)").pid
    other = beside("while True: pass").pid
    watch = NeighbourWatch()
    deadline = time.monotonic() + 30
    while works not in watch._worked and time.monotonic() < deadline:
        time.sleep(0.1)
        watch.look()
    assert works in watch._worked
    assert not {waits, other} & watch._worked
    assert (watch.count() or 0) >= 1
