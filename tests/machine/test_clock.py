"""The training clock runs only inside its spans; compilations inside it are detected."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from bench.machine import clock as clocks
from bench.machine.clock import CompileWatch, PauseWatch, TrainingClock, synchronize
from tests.checkout import ROOT

CPU = torch.device("cpu")


def test_only_spans_count_and_a_cpu_has_no_device_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 2.0, 50.0, 53.0])
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: next(ticks))
    clock = TrainingClock(CPU)
    assert clock.wall_s == 0.0
    with clock.running():
        pass
    assert clock.wall_s == 2.0
    with pytest.raises(RuntimeError), clock.running():
        raise RuntimeError
    assert clock.wall_s == 5.0
    assert TrainingClock(CPU).device_s is None
    synchronize(CPU)


def test_the_device_is_synchronized_at_both_ends_of_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(clocks, "synchronize", lambda device: order.append("wait"))
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: float(order.append("read") or 0))
    with TrainingClock(CPU).running():
        order.append("work")
    assert order == ["wait", "read", "work", "wait", "read"]


def test_only_new_graphs_are_counted() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    compiled = torch.compile(double, backend="eager", dynamic=False)
    compiled(torch.ones(2))
    watch = CompileWatch()
    compiled(torch.ones(2))
    assert watch.new_graphs() == 0
    compiled(torch.ones(3))
    assert watch.new_graphs() == 1
    assert watch.new_graphs() == 0


def paused_s(
    monkeypatch: pytest.MonkeyPatch, times_s: Sequence[float], cpu_times_s: Sequence[float]
) -> float:
    """What a watch finds whose beats read these clocks."""
    clock, cpu_clock, watch = iter(times_s), iter(cpu_times_s), PauseWatch()
    monkeypatch.setattr(clocks, "boot_time_s", lambda: next(clock))
    monkeypatch.setattr(clocks.time, "process_time", lambda: next(cpu_clock))
    beats = iter([False] * (len(times_s) - 2) + [True])
    watch._beat(SimpleNamespace(wait=lambda timeout: next(beats)))  # type: ignore[arg-type]
    return watch.paused_s


@pytest.mark.parametrize(
    ("times_s", "cpu_times_s", "expected"),
    [
        ([0, 0.1, 0.2, 0.3], [0, 0.1, 0.2, 0.3], 0.0),
        ([0, 0.1, 63.2, 63.3], [0, 0.1, 0.1, 0.2], 63.0),
        ([0, 0.1, 63.2], [0, 0.1, 0.9], 63.0),  # eight threads ran until it stopped
        ([0, 3.1, 6.2], [0, 0, 0], 6.0),
        ([0, 3.1, 3.2], [0, 3.0, 3.1], 0.0),  # a long call that kept the lock of Python
        ([0, 0.8, 0.9], [0, 0, 0], 0.0),  # a delay of the scheduler
    ],
)
def test_pauses_are_gaps_without_cpu_time(
    times_s: Sequence[float],
    cpu_times_s: Sequence[float],
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert paused_s(monkeypatch, times_s, cpu_times_s) == pytest.approx(expected)


def test_a_process_that_runs_or_waits_is_not_paused() -> None:
    watch = PauseWatch()
    threads = threading.active_count()
    with watch.watching():
        end_s = time.monotonic() + 0.3
        while time.monotonic() < end_s:
            pass
        time.sleep(1.5)
    assert watch.paused_s == 0.0
    assert threading.active_count() == threads


WATCHED = """
import time
from bench.machine.clock import PauseWatch
watch = PauseWatch()
with watch.watching():
    print("ready", flush=True)
    input()
print(watch.paused_s)
"""


@pytest.mark.skipif(os.name != "posix", reason="stops a process by a signal")
@pytest.mark.slow
def test_a_stopped_process_was_paused() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate("\n", timeout=30)
    assert 2.5 < float(output) < 10.0
