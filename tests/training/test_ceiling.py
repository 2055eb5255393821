"""The ceiling: when it is looked at, and that a run goes on as if nobody had looked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import optimizers
from bench.cell import Cell
from bench.record import Point
from bench.training import ceiling
from tests.training.test_run import CELL, outcome, run

SMALL = replace(CELL, pipeline="native[eager]", train_images=200)


@pytest.mark.parametrize(
    ("epochs", "times"), [(1, set()), (2, {1}), (3, {1, 2}), (6, {2, 4}), (200, {66, 133})]
)
def test_it_is_looked_at_evenly(epochs: int, times: set[int]) -> None:
    assert ceiling.times_within(epochs) == times
    assert all(0 < time < epochs for time in times)


def with_recipe(optimizer: str, **changes: Any) -> Cell:
    recipe = optimizers.catalog.get(optimizer).default_recipe(SMALL.batch_size)
    return replace(SMALL, optimizer=optimizer, recipe=replace(recipe, **changes))


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(with_recipe("adamw", average="ema"), id="ema"),
        pytest.param(with_recipe("sgd", average="lookahead"), id="lookahead"),
        pytest.param(with_recipe("schedule_free_sgd"), id="other weights evaluated"),
        pytest.param(replace(SMALL, architecture="airnet94", optimizer="muon_sgd"), id="freezing"),
        pytest.param(replace(SMALL, pipeline="kornia"), id="kornia"),
    ],
)
def test_a_run_goes_on_as_if_nobody_had_looked(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(cell, epochs=3)
    looked = run(cell, tmp_path / "looked")
    monkeypatch.setattr(ceiling, "LOOKS_WITHIN", 0)
    wanted = run(cell, tmp_path / "not")
    assert outcome(looked) == outcome(wanted)
    assert looked.metrics == replace(
        wanted.metrics,  # type: ignore[type-var]
        time_to_accuracy_s=looked.metrics.time_to_accuracy_s,  # type: ignore[union-attr]
        time_to_accuracy_with_compile_s=looked.metrics.time_to_accuracy_with_compile_s,  # type: ignore[union-attr]
    )


def test_all_looks_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([[1.0, 1.0], [5.0, 5.0], [3.0, 3.0], [4.0, 4.0]])
    monkeypatch.setattr(ceiling, "cached_step_s", lambda *all, steps: next(looks))
    record = run(replace(SMALL, epochs=3), tmp_path)
    assert record.throughput is not None
    assert record.throughput.ceiling == SMALL.batch_size / 3.5
    assert next(looks, None) is None


def test_the_stall_is_the_share_that_the_ceiling_would_not_have_needed() -> None:
    points = [
        Point(epoch=1, images=1, train_s=1.0, train_loss=1.0, learning_rate=1.0,
              images_per_s=rate, step_ms=1.0)
        for rate in (80.0, 90.0, 100.0)
    ]  # fmt: skip
    found = ceiling.throughput(points, 10, [0.1, 0.1, 7.0])
    assert (found.median, found.ceiling) == (90.0, 100.0)
    assert found.stall_pct == pytest.approx(10.0)


def test_random_numbers_and_weights_are_put_back_after_an_error_too() -> None:
    class Parts:
        device = torch.device("cpu")
        net = type("Net", (), {"module": torch.nn.Linear(2, 2)})

    weights = Parts.net.module.weight.clone()
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    step: Any = type("Step", (), {"freezing": None})

    def fail() -> None:
        with ceiling.undisturbed(Parts, step):  # type: ignore[arg-type]
            torch.rand(7)
            Parts.net.module.weight.data.zero_()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.rand(1) == wanted
    assert torch.equal(Parts.net.module.weight, weights)
