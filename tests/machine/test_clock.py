"""The training clock runs only inside its spans; compilations inside it are detected."""

import pytest
import torch

from bench.machine import clock as clocks
from bench.machine.clock import CompileWatch, TrainingClock, synchronize

CPU = torch.device("cpu")


def test_only_spans_count_including_failed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_cpu_has_no_device_time() -> None:
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
