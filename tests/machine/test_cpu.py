"""CPU counters, other runs on the same host, and the number of threads."""

import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import torch

from bench.machine import cpu
from tests.made import made_cell

OWN = 40  # session of this process
linux = pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")

Show = Callable[..., None]
CoreTimes = namedtuple("CoreTimes", "user nice system idle iowait irq softirq steal")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Adds or changes a fake process."""
    shown: dict[int, cpu.Process] = {}
    monkeypatch.setattr(os, "getsid", lambda pid: OWN)
    monkeypatch.setattr(cpu, "processes", lambda: iter(shown.values()))

    def show_process(pid: int, cpu_s: float, name: str, session: int | None = None) -> None:
        shown[pid] = cpu.Process(pid=pid, session=session or pid, name=name, cpu_s=cpu_s)

    return show_process


def test_counters_cover_cores_and_session(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = [CoreTimes(10, 1, 2, 100, 5, 3, 4, 6), CoreTimes(*[900] * 8),
             CoreTimes(20, 0, 0, 200, 0, 0, 0, 1)]  # fmt: skip
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    monkeypatch.setattr(cpu.psutil, "cpu_times", lambda percpu: cores)
    monkeypatch.setattr(
        cpu, "_thread_times", lambda pids: dict.fromkeys(map(str, pids), (5000, 70))
    )
    show(41, 26.0, "python", session=OWN)
    show(42, 7.0, "other")
    show(43, 26.0, "loader", session=OWN)
    assert cpu.read_counters() == cpu.CpuCounters(
        busy_s=20 + 20,
        idle_s=105 + 200,
        stolen_s=7,
        own_s=52,
        threads_ns={"41": (5000, 70), "43": (5000, 70)},
    )


def shares_between(
    monkeypatch: pytest.MonkeyPatch, start: cpu.CpuCounters | None, end: cpu.CpuCounters | None
) -> cpu.CpuShares | None:
    counters = iter([start, end])
    monkeypatch.setattr(cpu, "read_counters", lambda: next(counters))
    return cpu.CpuWatch().shares()


def counters(busy_s: float, idle_s: float, stolen_s: float, own_s: float, **more: Any) -> Any:
    return cpu.CpuCounters(busy_s=busy_s, idle_s=idle_s, stolen_s=stolen_s, own_s=own_s, **more)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (counters(11.5, 20.4, 0.1, 6.0), (25.0, 20.0, 5.0)),
        (counters(11.5, 20.5, 0.0, 7.0), (0.0, 25.0, 0.0)),
        (counters(10.5, 20.4, 0.0, 5.0), None),
        (None, None),
    ],
    ids=["others", "own is counted finer than the whole", "too short", "no counters"],
)
def test_shares_refer_to_the_time_since_the_start(
    end: cpu.CpuCounters | None, expected: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = counters(10.0, 20.0, 0.0, 5.0) if end else None
    shares = shares_between(monkeypatch, start, end)
    if expected is None:
        assert shares is None
    else:
        assert (shares.others_pct, shares.idle_pct, shares.stolen_pct) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("start", "end", "waited_pct"),
    [
        ({"1": (10, 5)}, {"1": (85, 30)}, 25.0),
        ({"1": (10, 5), "2": (900, 800)}, {"1": (85, 30)}, 25.0),
        ({"1": (10, 5)}, {"1": (10, 5), "2": (75, 25)}, 25.0),
        ({}, {}, None),
    ],
    ids=["one thread", "another has ended in between", "another has started", "unknown"],
)
def test_waiting_is_a_share_of_the_threads_runnable_time(
    start: Any, end: Any, waited_pct: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = shares_between(
        monkeypatch, counters(0, 0, 0, 0, threads_ns=start), counters(2, 0, 0, 1, threads_ns=end)
    )
    assert shares.waited_pct == waited_pct


@linux
def test_the_work_of_children_is_our_own() -> None:
    (own,) = [process for process in cpu.processes() if process.pid == os.getpid()]
    before = cpu.read_counters()
    assert before.idle_s > 0
    assert 0.0 < own.cpu_s <= before.own_s
    spin = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", spin], stdin=-1, stdout=-1, text=True)
    assert child.stdout.readline()
    running = cpu.read_counters()
    child.communicate("\n")
    for after in (running, cpu.read_counters()):
        assert after.own_s - before.own_s >= 0.4, "also after it has ended"
    assert sum(ran for ran, _ in running.threads_ns.values()) >= 0.4e9
    assert str(child.pid) in running.threads_ns


@linux
def test_a_process_is_marked_busy_during_a_job() -> None:
    before = psutil.Process().name()
    with suppress(ValueError), cpu.run_in_progress():
        assert psutil.Process().name() == cpu.RUN_IN_PROGRESS
        raise ValueError
    assert psutil.Process().name() == before != cpu.RUN_IN_PROGRESS


def test_a_workers_time_includes_its_descendants(show: Show) -> None:
    show(7, 10.0, cpu.RUN_IN_PROGRESS)
    show(8, 5.0, cpu.RUN_IN_PROGRESS, session=7)  # its guard, forked
    show(9, 4.0, "loader", session=7)
    show(10, 100.0, "python")
    show(OWN, 1000.0, cpu.RUN_IN_PROGRESS)
    show(41, 1000.0, "python", session=OWN)
    assert cpu.other_workers_cpu_s() == {7: 19.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(cpu.time, "monotonic", lambda: now[-1])
    return now


@linux
def test_busy_workers_are_counted(show: Show, clock: list[float]) -> None:
    show(7, 5.0, cpu.RUN_IN_PROGRESS)
    show(8, 5.0, cpu.RUN_IN_PROGRESS)
    show(OWN, 0.0, cpu.RUN_IN_PROGRESS)
    watch = cpu.OtherRunsWatch()
    clock.append(100.02)
    show(7, 5.04, cpu.RUN_IN_PROGRESS)
    watch.update()
    assert watch.count() == 0, "a few milliseconds are no work"
    clock.append(110.0)
    show(7, 5.64, cpu.RUN_IN_PROGRESS)
    show(8, 5.4, cpu.RUN_IN_PROGRESS)  # 4 % of a core
    show(9, 3.0, cpu.RUN_IN_PROGRESS)  # new: its time before it was seen says nothing of now
    show(OWN, 9.0, cpu.RUN_IN_PROGRESS)
    watch.update()
    assert watch.count() == 1
    clock.append(120.0)
    show(7, 5.64, cpu.RUN_IN_PROGRESS)  # it worked, though it rests now
    show(9, 4.0, cpu.RUN_IN_PROGRESS)
    watch.update()
    assert watch.count() == 2


def test_other_systems_know_no_other_runs(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.psutil, "LINUX", False)
    assert cpu.OtherRunsWatch().count() is None


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
        ("timm:resnet10t", "cpu", "cpu", 3),  # its work is not known
    ],
)
def test_threads_by_net_scale_and_device(net: str, scale: str, device: str, threads: int) -> None:
    cell = made_cell(architecture=net, scale=scale, device=device)
    with suppress(ValueError), cpu.training_threads(cell):
        assert torch.get_num_threads() == threads
        raise ValueError
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("scale", "requested", "threads"), [("cpu", "", 5), ("cpu", "2", 2), ("full", "2", 3)]
)
def test_evaluation_uses_all_cores_up_to_the_requested_number(
    scale: str, requested: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "usable_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", requested)
    cell = made_cell(architecture="cnn4", scale=scale, device="cpu")
    with cpu.training_threads(cell):
        within = torch.get_num_threads()
        with cpu.evaluation_threads(cell):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == within
