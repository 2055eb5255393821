"""The search for recipes: which are tried, which continue, and what is claimed of the winner."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cell import Cell, Run
from bench.cli import app
from bench.cli.progress import TextReporter
from bench.cli.tune import Interrupted, Trainer, result_table, score
from bench.executors import runner
from bench.executors.runner import GridOutcome
from bench.grid import plan as planning
from bench.grid import tuning
from bench.grid.grids import BUDGETS, GridConfig
from bench.grid.plan import Plan
from bench.grid.recipe_files import Book, read, render
from bench.grid.tuning import TuningResult, candidates, entries, origin, rungs
from bench.machine.environment import Probe
from bench.recipe import DEFAULT_ORIGIN
from bench.record import Record
from bench.store.store import Store
from tests.made import made_metrics, made_record, made_run, record_of
from tests.made_device import device_is

SETTING = GridConfig(
    base=replace(BUDGETS["cpu"], source="shapes", device="cpu"), book=Book(entries={})
)
BASE = SETTING.cell("cnn4", "sgd", "flip_crop", "native")


def test_the_default_is_tried_and_the_others_lie_around_it() -> None:
    found = candidates(BASE, 12)
    assert found[0] == BASE
    assert len(set(found)) == len(found) == 12
    assert found == candidates(BASE, 12)
    rates = []
    for cell in found[1:]:
        default = tuning.with_default(cell).recipe
        rates.append(math.log2(cell.recipe.lr / default.lr))
    assert rates == sorted(rates)  # one in each step of the scale
    assert rates[0] < -2
    assert rates[-1] > 2
    assert len({cell.batch_size for cell in found}) > 1
    assert candidates(replace(BASE, optimizer="adamw"), 3)[1:] != found[1:3]


@pytest.mark.parametrize(
    ("trials", "expected"),
    [(12, [(12, 1), (6, 2), (3, 4)]), (2, [(2, 1)]), (40, [(40, 1), (20, 2), (10, 4)])],
)
def test_half_continue_with_twice_the_seeds(trials: int, expected: list[tuple[int, int]]) -> None:
    assert list(rungs(trials)) == expected


def plan(folder: Path, *cells: Cell) -> Plan:
    runs = [replace(made_run(), cell=cell) for cell in cells]
    return Plan(device="cpu", folder=folder, data_dir=folder, runs=runs)


class Trained:
    """Fake training: accuracy grows with the learning rate, and it can be interrupted."""

    def __init__(self) -> None:
        self.runs: list[tuple[float, int]] = []
        self.stop_after: int | None = None

    def __call__(self, plan: Plan, *_: Any, **__: Any) -> GridOutcome:
        for run in plan.todo:
            if self.stop_after is not None and len(self.runs) >= self.stop_after:
                return GridOutcome(counts=Counter(), interrupted=True)
            self.runs.append((run.cell.recipe.lr, run.seed))
            Store(plan.folder).write(self.record(run))
        return GridOutcome(counts=Counter(), interrupted=False)

    def record(self, run: Run) -> Record:
        accuracy = min(0.9, run.cell.recipe.lr + 0.001 * (run.seed % 3))
        metrics = replace(made_metrics(0.7, 3.0), validation_accuracy=accuracy)
        return record_of(run, metrics=metrics)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = Trained()
    monkeypatch.setattr(runner, "run_plan", made)
    return made


def search(folder: Path) -> list[TuningResult]:
    base = plan(folder, BASE, replace(BASE, augmentation="none"))
    train = Trainer(base=base, console=TextReporter(), timeout_s=1.0)
    return tuning.search([run.cell for run in base.runs], train, trials=12, seeds=5)


def test_the_best_is_found_and_confirmed_on_fresh_seeds(tmp_path: Path, trained: Trained) -> None:
    (found,) = search(tmp_path)
    best = max(candidates(BASE, 12), key=lambda cell: cell.recipe.lr)
    assert found.winner.recipe == best.recipe
    assert found.verdict == "better"
    assert found.chosen == found.winner
    assert len(found.scores) == len(found.default_scores) == 5
    fresh = {seed for _, seed in trained.runs if seed >= tuning.FIRST_FRESH_SEED}
    assert fresh == set(range(tuning.FIRST_FRESH_SEED, tuning.FIRST_FRESH_SEED + 5))
    assert len(trained.runs) == 12 + 6 + 3 * 2 + 2 * 5
    assert score(None) == 0.0
    assert score(replace(made_record(), status="diverged")) == 0.0
    assert found.winner.test_images == tuning.TEST_IMAGES


def test_an_interrupted_search_continues(tmp_path: Path, trained: Trained) -> None:
    trained.stop_after = 7
    with pytest.raises(Interrupted):
        search(tmp_path)
    trained.stop_after = None
    search(tmp_path)
    assert len(trained.runs) == len(set(trained.runs)) == 12 + 6 + 3 * 2 + 2 * 5
    search(tmp_path)
    assert len(trained.runs) == 12 + 6 + 3 * 2 + 2 * 5


def made(scores: list[float], default_scores: list[float], *, same: bool = False) -> TuningResult:
    default = candidates(BASE, 2)
    return TuningResult(
        winner=default[0 if same else 1],
        default=default[0],
        scores=scores,
        default_scores=default_scores,
    )


def test_verdicts_need_more_than_noise_and_an_unlucky_winner_is_not_chosen() -> None:
    better = made([0.5, 0.51, 0.52], [0.3, 0.31, 0.32])
    assert better.verdict == "better"
    assert better.margin == pytest.approx(0.2)
    assert made([0.3, 0.31, 0.32], [0.5, 0.51, 0.52]).verdict == "worse"
    close = made([0.3, 0.5], [0.31, 0.48])
    assert close.verdict == "cannot tell"
    assert made([0.3], [0.2]).verdict == "cannot tell"
    assert made([0.3], [0.3], same=True).verdict == "the default won"
    unlucky = made([0.3, 0.31], [0.4, 0.41])
    assert unlucky.chosen == unlucky.default
    assert "found nothing better" in origin(unlucky, "a machine", "2026-01-01")


def test_what_was_found_is_written_as_recipes_and_as_a_table(tmp_path: Path) -> None:
    found = [made([0.5, 0.51], [0.3, 0.31])]
    file = tmp_path / "recipes.json"
    file.write_text(render(entries(found, "a machine", "2026-01-01")))
    (entry,) = read(file)
    assert (entry.architecture, entry.optimizer) == ("cnn4", "sgd")
    assert entry.batch_size == found[0].winner.batch_size
    expected = "50.5 % (standard deviation 0.7) on validation over 2 fresh seeds"
    assert expected in entry.recipe.origin
    assert "a machine" in entry.recipe.origin
    assert "| cnn4" in result_table(found).markdown()
    assert "| better" in result_table(found).markdown()
    assert BASE.recipe.origin == DEFAULT_ORIGIN


def bench_tune(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Any:
    device_is(monkeypatch, Probe(cuda_problem="none"))
    monkeypatch.setattr(planning, "make", lambda *_: plan(folder, BASE))
    return CliRunner().invoke(app.app, ["tune", "--trials", "4", *arguments])


def test_the_command_shows_and_saves_what_was_found(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.json"
    done = bench_tune(monkeypatch, tmp_path, "--save", str(file))
    assert done.exit_code == 0, done.output
    assert "\ncnn4 " in done.stdout
    assert "| cnn4" in (tmp_path / "tuning.md").read_text()
    assert read(file) == read(tmp_path / "recipes.json")
    other = {"architecture": "cnn2", "optimizer": "sgd", "batch_size": 8, "lr": 1.0, "origin": "x"}
    file.write_text(json.dumps([other]))
    bench_tune(monkeypatch, tmp_path, "--save", str(file))
    assert [entry.architecture for entry in read(file)] == ["cnn2", "cnn4"]


def test_a_stopped_search_ends_with_the_command_that_continues_it(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.stop_after = 1
    done = bench_tune(monkeypatch, tmp_path)
    assert done.exit_code == 130
    assert "bench: interrupted; to continue:" in done.stderr
