"""The ceiling: when it is measured, and that it does not affect the run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import optimizers
from bench.cell import Cell
from bench.machine.monitor import PeakMemory
from bench.record import Point
from bench.training import ceiling
from bench.training import run as running
from tests.tape import capture
from tests.training.test_run import CELL, outcome, run

SMALL = replace(CELL, pipeline="native[eager]", train_images=200)
DEEP = replace(SMALL, architecture="airnet94", optimizer="muon_sgd")
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("epochs", "times"), [(1, set()), (2, {1}), (3, {1, 2}), (6, {2, 4}), (200, {66, 133})]
)
def test_measurements_are_evenly_spaced(epochs: int, times: set[int]) -> None:
    assert ceiling.epochs_to_measure_after(epochs) == times
    assert all(0 < time < epochs for time in times)


def with_recipe(optimizer: str, **changes: Any) -> Cell:
    recipe = optimizers.catalog.get(optimizer).default_recipe(SMALL.batch_size)
    return replace(SMALL, optimizer=optimizer, recipe=replace(recipe, **changes))


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(with_recipe("adamw", average="ema"), id="ema"),
        pytest.param(with_recipe("sgd", average="lookahead"), id="lookahead", marks=slow),
        pytest.param(with_recipe("schedule_free_sgd"), id="other weights evaluated", marks=slow),
        pytest.param(DEEP, id="freezing", marks=slow),
        pytest.param(replace(SMALL, pipeline="kornia"), id="kornia"),
    ],
)
def test_measuring_is_harmless(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = replace(cell, epochs=3)
    monkeypatch.setattr(ceiling, "SHORT_RUN", 0)
    found = run(cell, tmp_path / "measured")
    monkeypatch.setattr(ceiling, "WITHIN_RUN", 0)
    wanted = run(cell, tmp_path / "not")
    assert outcome(found) == outcome(wanted)
    assert found.metrics == replace(
        wanted.metrics,
        time_to_accuracy_s=found.metrics.time_to_accuracy_s,
        time_to_accuracy_with_compile_s=found.metrics.time_to_accuracy_with_compile_s,
    )


def test_all_measurements_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def timed(*all: object, steps: int) -> list[float]:
        asked.append(steps)
        return [float(len(asked))] * steps

    monkeypatch.setattr(ceiling, "cached_step_s", timed)
    monkeypatch.setattr(running, "cached_step_s", lambda *all, steps: [9.0])
    cell = replace(SMALL, epochs=3)
    record = run(cell, tmp_path / "short")
    assert asked == [2], "after a short run; before it, the steps of the warm-up count"
    assert record.throughput.ceiling == SMALL.batch_size / 5.0
    monkeypatch.setattr(ceiling, "SHORT_RUN", 0)
    asked.clear()
    record = run(cell, tmp_path / "long")
    assert asked == [2, 2, 2], "twice during the run, and after it"
    assert record.throughput.ceiling == SMALL.batch_size / 2.5
    asked.clear()
    monkeypatch.setattr(running, "cached_step_s", lambda *all, steps: [0.01])
    monkeypatch.setattr(ceiling, "MAX_SHARE", 1.0)
    run(cell, tmp_path / "quick")
    assert asked[0] == 8, "the two steps of the warm-up count too"


def test_the_stall_is_the_lost_share_of_the_ceiling() -> None:
    points = [
        Point(epoch=1, images=1, train_s=1.0, train_loss=1.0, learning_rate=1.0,
              images_per_s=rate, step_ms=1.0)
        for rate in (80.0, 90.0, 100.0)
    ]  # fmt: skip
    found = ceiling.throughput(points, 10, [0.1, 0.1, 7.0])
    assert (found.median, found.ceiling) == (90.0, 100.0)
    assert found.stall_pct == pytest.approx(10.0)


def test_memory_of_the_ceiling_is_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    excluded = [False]
    seen: list[bool] = []

    @contextmanager
    def watch(memory: PeakMemory) -> Iterator[None]:
        excluded[0] = True
        yield
        excluded[0] = False

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(excluded[0])
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(PeakMemory, "excluded", watch)
    for name in ("fresh_step", "cached_step_s", "try_to_capture"):
        monkeypatch.setattr(ceiling, name, watched(getattr(ceiling, name)))
    monkeypatch.setattr(ceiling, "capture_for", lambda draft, parts: capture)
    monkeypatch.setattr(ceiling, "SHORT_RUN", 0)
    run(replace(SMALL, epochs=3), tmp_path)
    assert len(seen) >= 5
    assert all(seen)
