"""The command that is shown for a run selects exactly that run."""

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.again import Again
from bench.again import again as found_by
from bench.cell import Cell, Run
from bench.cli import app
from bench.cli.run import options_of
from bench.grid import plan as planning
from bench.grid.config import BUDGETS, GridConfig
from bench.grid.options import RunOptions
from bench.grid.plan import Plan
from bench.grid.registry import versions
from bench.machine.environment import Probe
from bench.recipe import Recipe
from bench.record import Record
from bench.report.show import rerun_command
from bench.retyped import given, typed_words
from tests.made import made_failure, made_record
from tests.made_device import device_is


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU and with the image fingerprint of the made records."""
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, Probe(cuda_problem="none"))
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path,
        resolve=lambda asked, data_dir, report: (asked, ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", sources)


def recorded(cell: Cell, seed: int = 0, **fields: Any) -> Record:
    """A record of a cell as this version of the suite would write it."""
    run = Run(cell=cell, seed=seed, versions=versions(cell), fingerprint="f00d")
    return replace(made_record(seed), run_id=run.id, cell=cell, versions=run.versions, **fields)


def of_grid(grid: str, name: str, **changes: Any) -> Cell:
    options = RunOptions(grid=grid, source="shapes", device="cpu", scale="cpu", **changes)
    setting = planning.choose_setting(options, Probe(), "cpu")
    return next(c for c in planning.choose_cells(options, setting) if c.name.startswith(name))


def again(record: Record, out: Path) -> Again:
    return found_by(record, out, options_of)


def planned(found: Again) -> Plan:
    assert found.options is not None
    return planning.make(found.options, print)


CELLS = {
    "default": lambda: of_grid("default", "resnet18/sgd/none/kornia"),
    "smoke": lambda: of_grid("smoke", "cnn2/sgd/flip_crop/native"),
    "six views": lambda: of_grid("speedrun", "airnet94"),
    "25 epochs": lambda: replace(of_grid("seed", "cnn4/adam"), epochs=25),
    "a longer name": lambda: of_grid("pipelines", "cnn4/sgd/flip_crop/kornia"),
    "another target": lambda: of_grid("default", "cnn4/sgd", target=0.3),
    "a net of no grid": lambda: of_grid("default", "timm", architecture="timm:resnet10t"),
    "by hand": lambda: of_grid("default", "cnn4", changes=("batch_size=96", "optimizer.lr=0.3")),
    "schedule": lambda: of_grid("default", "cnn4/muon", changes=("schedule=cosine",)),
    "option": lambda: of_grid(
        "default", "cnn4", select="sgd", changes=("optimizer.momentum=0.8",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
def test_the_command_plans_exactly_the_run(case: str) -> None:
    record = recorded(CELLS[case](), seed=2)
    plan = planned(again(record, Path("results")))
    assert [run.id for run in plan.runs] == [record.run_id]
    assert [run.seed for run in plan.todo] == [2]


def test_the_command_line_means_what_was_planned(tmp_path: Path) -> None:
    record = recorded(CELLS["by hand"](), seed=1)
    found = again(record, tmp_path)
    words = shlex.split(found.command)
    assert words[:2] == ["bench", "run"]
    done = CliRunner().invoke(app.app, [*words[1:], "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "1 to run" in done.stdout
    assert f"to run   {record.name}\n" in done.stdout


def test_what_is_done_goes_elsewhere_and_what_failed_is_tried_again_in_place() -> None:
    cell = CELLS["default"]()
    done = again(recorded(cell), Path("results"))
    failed = again(recorded(cell, status="crashed", error=made_failure().error), Path("results"))
    assert "--out again" in done.command
    assert "--retry-failed" not in done.command
    assert "--out results" in failed.command
    assert failed.command.endswith("--retry-failed")


def test_a_grid_is_found_in_the_command_that_was_given() -> None:
    cell = CELLS["default"]()
    assert "--grid default" in again(recorded(cell), Path("results")).command
    recipe = of_grid("optimizers", "cnn4/sgd")
    command = "bench run --grid optimizers --data-dir 'data'"
    found = again(recorded(recipe, command=command), Path("results")).command
    assert "--grid optimizers --data-dir data -k cnn4/sgd/flip_crop/native" in found


def test_a_changed_entry_is_told() -> None:
    record = recorded(CELLS["default"]())
    older = replace(record, versions=record.versions | {"optimizer": 77})
    assert "optimizer v77, now v" in again(older, Path("results")).note
    assert again(record, Path("results")).note == ""


def test_a_cell_that_no_command_gives_has_a_reason_instead() -> None:
    budget = replace(BUDGETS["cpu"], train_images=123)
    setting = GridConfig(source="shapes", scale="cpu", device="cpu", precision="fp32",
                         compile=False, budget=budget)  # fmt: skip
    cell = replace(setting.cell("cnn4", "sgd", "none", "native"), recipe=Recipe(lr=0.1))
    found = again(recorded(cell), Path("results"))
    assert found.options is None
    assert found.command == ""
    assert "no grid" in found.note


COMMANDS = {
    "bench run --grid default --report": CELLS["default"],
    "bench run --grid=default --seeds 5 -k 'resnet18 and not muon' --quiet": CELLS["default"],
    "bench run --grid smoke --out elsewhere --fail-fast --progress json": CELLS["smoke"],
    "bench run --set batch_size=96 --set optimizer.lr=0.3 -kcnn4": CELLS["by hand"],
    "bench run --target 0.3 --source auto --device auto": CELLS["another target"],
    "bench run --shard 2/8 --seeds 5": CELLS["default"],
    "bench run --shard=2/8 --grid smoke": CELLS["smoke"],
    "bench run --grid seed --epochs 25": CELLS["25 epochs"],
}  # fmt: skip


@pytest.mark.parametrize("status", ["ok", "crashed"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_and_the_terminal_offer_one_command_and_it_gives_the_run(
    command: str, status: str
) -> None:
    error = None if status == "ok" else made_failure().error
    record = recorded(COMMANDS[command](), 1, command=command, status=status, error=error)
    found = again(record, Path(given(typed_words(command), "--out") or "results"))
    offered = rerun_command(record)
    told = {word for word in shlex.split(found.command) if word != "--out"}
    placed = {"results", "elsewhere"} if status == "crashed" else set()  # a page knows no folder
    assert told ^ set(shlex.split(offered)) - {"--out"} <= placed
    plan = planning.make(options_of(shlex.split(offered)[2:]), print)
    assert [run.id for run in plan.todo] == [record.run_id]
    assert [run.id for run in planned(found).todo] == [record.run_id]


def test_a_grid_that_holds_a_longer_name_gets_it_left_out() -> None:
    record = recorded(CELLS["a longer name"](), command="bench run --grid pipelines")
    assert "and not" in again(record, Path("results")).command


def test_what_was_typed_for_another_version_is_not_offered() -> None:
    record = recorded(CELLS["default"](), command="bench run --gone 3")
    assert "--gone" not in again(record, Path("results")).command
    assert [run.id for run in planned(again(record, Path("results"))).todo] == [record.run_id]


def test_a_home_folder_is_left_to_the_shell() -> None:
    record = recorded(CELLS["default"](), command="bench run --data-dir '~/my data'")
    assert "--data-dir ~/'my data'" in again(record, Path("results")).command
    assert "--data-dir ~/'my data'" in rerun_command(record)


@pytest.mark.parametrize("words", [["--gone"], ["--seed", "x"], ["extra"]])
def test_a_command_line_that_means_nothing_is_a_wrong_usage(words: list[str]) -> None:
    with pytest.raises(planning.UsageError, match="bench run: "):
        options_of(words)


def test_words_are_read_as_the_command_line_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunOptions] = []

    def make(options: RunOptions, report: object, probe: object) -> Plan:
        asked.append(options)
        raise planning.UsageError("enough")

    monkeypatch.setattr(planning, "make", make)
    words = ["--grid", "smoke", "-k", "cnn2", "--seed", "2", "--architecture", "cnn4", "--set",
             "width=0.5", "--set", "optimizer.lr=1", "--source", "folder:x", "--image-size", "64",
             "--decode", "--epochs", "2", "--target", "0.3", "--precision", "fp32", "--no-compile",
             "--out", "o", "--retry-failed", "--recipes", "r.json", "--data-dir", "d"]  # fmt: skip
    CliRunner().invoke(app.app, ["run", *words])
    assert asked == [options_of(words)]
    assert options_of(words) != options_of([])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "--seed takes one number from 0 to"),
        ({"seed": 1, "seeds": 2}, "--seed is for one seed and --seeds for the first few"),
    ],
)
def test_one_seed_and_many_exclude_each_other(options: dict[str, int], said: str) -> None:
    with pytest.raises(planning.UsageError, match=said):
        planning.check(RunOptions(**options))  # type: ignore[arg-type]
