"""`bench run`: its options reach the plan, and --rerun trains exactly the recorded run."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cell import Cell, Run
from bench.errors import UsageError
from bench.executors import runner
from bench.executors.runner import GridOutcome
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.grid.plan import Plan
from bench.grid.plugins import used
from bench.grid.registry import versions
from bench.machine.environment import Probe
from bench.recipe import Recipe
from bench.record import Record
from bench.report.show import rerun_command
from bench.store.store import Store
from tests import checkout
from tests.cli.conftest import Bench
from tests.made import made_cell, made_failure, record_of
from tests.made_device import device_is
from tests.made_plugins import net, write

pytestmark = pytest.mark.usefixtures("machine")


def current_record(cell: Cell, seed: int = 0, **fields: Any) -> Record:
    """A record of a cell as this version of the suite would write it."""
    run = Run(cell=cell, seed=seed, versions=versions(cell), fingerprint="f00d")
    return record_of(run, **fields)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that `bench run` would have trained."""
    plans: list[Plan] = []

    def run_plan(plan: Plan, *args: object, **kwargs: object) -> GridOutcome:
        plans.append(plan)
        return GridOutcome(counts=runner.Counter(ok=len(plan.todo)), interrupted=False)

    monkeypatch.setattr(runner, "run_plan", run_plan)
    return plans


def test_every_option_reaches_the_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunOptions] = []

    def make(options: RunOptions, *args: object) -> Plan:
        asked.append(options)
        raise UsageError("enough")

    monkeypatch.setattr(planning, "make", make)
    bench(
        "run", "--grid", "smoke", "-k", "cnn2", "--seed", "2", "--architecture", "cnn4", "--set",
        "width=0.5", "--set", "optimizer.lr=1", "--source", "folder:x", "--image-size", "64",
        "--decode", "--epochs", "2", "--target", "0.3", "--precision", "fp32", "--no-compile",
        "--out", "o", "--retry-failed", "--recipes", "r.json", "--data-dir", "d", "--shard", "1/2",
        "--optimizer", "sgd", "--augmentation", "none", "--pipeline", "native", "--device", "cpu",
        "--scale", "cpu", "--exclusive-timing", "--seeds", "1",
    )  # fmt: skip
    expected = RunOptions(
        grid="smoke", select="cnn2", seed=2, architecture="cnn4", optimizer="sgd",
        augmentation="none", pipeline="native", overrides=["width=0.5", "optimizer.lr=1"],
        source="folder:x[size=64,decode]", epochs=2, target=0.3, precision="fp32", compile=False,
        out=Path("o"), retry_failed=True, recipes=Path("r.json"), data_dir=Path("d"), shard="1/2",
        device="cpu", scale="cpu", exclusive_timing=True,
    )  # fmt: skip
    assert asked == [expected]


# Cells that no combination of other options gives.
CELLS = {
    "changed budget": made_cell(epochs=25, train_images=123, width=0.3),
    "changed recipe": made_cell(recipe=Recipe(lr=0.123, schedule="cosine", average="ema")),
    "net of timm": made_cell(architecture="timm:resnet10t", width=1.0),
    "six views": made_cell(eval_views=6, protocol="speedrun"),
}


@pytest.mark.parametrize("case", CELLS)
def test_a_rerun_trains_only_the_recorded_run(bench: Bench, trained: list[Plan], case: str) -> None:
    failed = {"status": "crashed", "error": made_failure().error} if case == "six views" else {}
    record = current_record(CELLS[case], 2, **failed)
    Store(Path("results/somewhere")).write(record)
    command = shlex.split(rerun_command(record, Path("results")))
    assert command[:2] == ["bench", "run"]
    done = bench(*command[1:])
    assert done.exit_code == 0, done.output
    (plan,) = trained
    assert [(run.id, run.seed, run.cell) for run in plan.todo] == [(record.run_id, 2, record.cell)]
    assert plan.folder.parent == Path("results")


def test_rerun_finds_a_run_like_show_in_any_group(bench: Bench, trained: list[Plan]) -> None:
    record = current_record(made_cell())
    for group in ("results/a", "results/reference/b"):
        Store(Path(group)).write(record)
    for run in (record.run_id[:6], record.name, "resnet18/sgd"):
        assert bench("run", "--rerun", run).exit_code == 0
    assert bench("run", "--rerun", "resnet18", "--out", "results/reference/b").exit_code == 0
    assert [plan.todo[0].id for plan in trained] == [record.run_id] * 4
    assert [str(plan.folder.parent) for plan in trained] == ["results"] * 3 + ["results/reference"]


def test_the_rerun_command_does_not_name_the_reference_and_keeps_the_tilde(
    bench: Bench, trained: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = current_record(made_cell())
    Store(Path("results/reference/b")).write(record)
    command = rerun_command(record, Path("results/reference"))
    assert command == f"bench run --rerun {record.run_id} --out results"
    assert bench(*shlex.split(command)[1:]).exit_code == 0
    assert trained[0].folder.parent == Path("results")
    monkeypatch.setenv("HOME", "/home/ann")
    record = current_record(made_cell(), command="bench run --plugin ~/'my nets.py'")
    record = replace(record, versions=record.versions | {"architecture": "1 of my_nets.py 01"})
    command = rerun_command(record, Path("/home/ann/my results"))
    assert command.endswith("--out ~/'my results' --plugin ~/'my nets.py'")


def test_a_rerun_needs_the_plugin_that_the_run_had(
    bench: Bench, trained: list[Plan], refused: Callable[..., str]
) -> None:
    write(Path(), {"my nets.py": net()})
    with used(["my nets.py"]):
        record = current_record(
            made_cell(architecture="team_net"), command="bench run --plugin 'my nets.py' --seeds 5"
        )
    Store(Path("results/g")).write(record)
    command = rerun_command(record, Path("results"))
    assert command.endswith(f"--rerun {record.run_id} --out results --plugin 'my nets.py'")
    assert bench(*shlex.split(command)[1:]).exit_code == 0
    assert [run.id for run in trained[0].todo] == [record.run_id]
    assert trained[0].plugins
    assert "it was trained with --plugin: my_nets.py" in refused("run", "--rerun", record.run_id)
    write(Path(), {"my nets.py": net(parameters=2)})
    message = refused(*shlex.split(command)[1:])
    assert "would be a different run now: the architecture team_net is version 1 of my_nets" in (
        message
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"versions": {"architecture": 77}}, "the architecture resnet18 is version "),
        ({"fingerprint": "beef"}, "the images of shapes have changed"),
        ({"run_id": "0123456789abcdef"}, "the record's id does not match its cell"),
        ({"cell": made_cell(architecture="gone_net")}, "unknown architecture 'gone_net'"),
        ({"cell": made_cell(device="cuda")}, "it needs a GPU: no NVIDIA driver"),
    ],
)
def test_rerun_refuses_a_run_that_would_be_different_now(
    refused: Callable[..., str], change: dict[str, Any], message: str
) -> None:
    record = current_record(made_cell())
    if "versions" in change:
        change = {"versions": record.versions | change["versions"]}
    other = replace(record, **change)
    if "run_id" not in change:
        other = replace(other, run_id=other.run.id)
    Store(Path("results/g")).write(other)
    assert message in refused("run", "--rerun", other.run_id)


def test_a_rerun_needs_the_record_and_for_a_compiled_net_a_compiler(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device_is(monkeypatch, Probe(cuda_problem="none", compiler_problem="no C++ compiler"))
    record = current_record(made_cell(compile=True))
    Store(Path("results/g")).write(record)
    assert "it needs torch.compile: no C++ compiler" in refused("run", "--rerun", record.run_id)
    Store(Path("results/g")).write(current_record(made_cell()))
    assert "no run under results has 'vgg'" in refused("run", "--rerun", "vgg")


@pytest.mark.parametrize(
    "options",
    [
        "--grid smoke", "-k resnet18", "--seeds 5", "--epochs 3", "--set width=1", "--shard 1/2",
        "--source cifar10", "--device cpu", "--no-compile",
    ],
)  # fmt: skip
def test_rerun_refuses_options_that_choose_runs(refused: Callable[..., str], options: str) -> None:
    record = current_record(made_cell())
    Store(Path("results/g")).write(record)
    message = refused("run", "--rerun", record.run_id, *options.split())
    option = options.split()[0].replace("--no-compile", "--compile")
    assert message == f"bench: --rerun trains the recorded run: leave out {option}"


def test_the_first_line_comes_before_torch(tmp_path: Path) -> None:
    program = """
import sys
from bench.cli import app
from bench.executors import local
def started(**options): sys.exit("torch" in sys.modules)
local.warm_start = started
app.app(["run"])"""
    done = checkout.python(program)
    assert (done.stdout.split()[0], done.returncode) == ("planning", 0), done.stderr


@pytest.mark.parametrize(
    ("broken", "reason"), [(False, "there is no record"), (True, "ZeroDivisionError: oh")]
)
def test_a_run_without_answers_says_why(
    bench: Bench, trained: list[Plan], monkeypatch: pytest.MonkeyPatch, broken: bool, reason: str
) -> None:
    def answers(records: list[Record], loaders: object) -> list[Any]:
        if broken:
            raise ZeroDivisionError("oh")
        return []

    monkeypatch.setattr("bench.report.answers.answers", answers)
    done = bench("run", "--grid", "smoke", "--source", "shapes")
    assert done.exit_code == 0
    assert f"_shapes_cpu: {reason}\n" in done.stdout
