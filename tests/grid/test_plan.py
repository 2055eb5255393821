"""Plans: choices from options, notices, errors, and the sorting of runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cell import AXES
from bench.cli import app
from bench.errors import UsageError
from bench.executors import runner as executing
from bench.executors.local import LocalExecutor
from bench.grid import plan as planning
from bench.grid import registry
from bench.grid.feasible import Feasibility
from bench.grid.grids import BUDGETS, GRIDS, Grid, GridConfig
from bench.grid.options import RunOptions
from bench.grid.plan import Plan, choose_cells, choose_config, choose_device, sort_out
from bench.machine import cpu
from bench.machine.environment import Probe
from bench.record import Conditions
from bench.store.store import Store
from pipelines import sources
from tests import checkout
from tests.made import made_failure, made_record, made_run, record_of
from tests.made_device import NO_GPU, device_is, made_data, source_is

Machine = Callable[..., None]
GPU = Probe(torch="2.11", cuda=True, gpu="NVIDIA H100", bf16=True, compiler=True)
NO_COMPILER = replace(NO_GPU, compiler=False, compiler_problem="no C++ compiler found")


def test_invalid_options_are_refused_before_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.environment, "probe", lambda: pytest.fail("looked"))
    with pytest.raises(UsageError, match=r"^--seeds is at least 1, got 0"):
        planning.make(RunOptions(seeds=0), print)


@pytest.mark.parametrize(
    ("asked", "probe", "device", "noticed"),
    [
        ("auto", GPU, "cuda", False),
        ("cuda", GPU, "cuda", False),
        ("cpu", GPU, "cpu", False),
        ("auto", NO_GPU, "cpu", True),
        ("cpu", NO_GPU, "cpu", False),
    ],
)
def test_the_gpu_is_the_default_device_and_its_absence_gives_a_notice(
    asked: str, probe: Probe, device: str, noticed: bool
) -> None:
    notices: list[str] = []
    assert choose_device(asked, probe, notices) == device
    assert bool(notices) is noticed
    assert all("No GPU (no NVIDIA driver): running on the CPU" in text for text in notices)


def test_a_requested_gpu_that_does_not_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "gpu_problems", lambda probe: "it is unplugged -> plug it in")
    with pytest.raises(UsageError, match=r"here: no NVIDIA driver\. .* unplugged -> plug it in\."):
        choose_device("cuda", NO_GPU, [])


def config(probe: Probe = NO_GPU, device: str = "cpu", **options: Any) -> GridConfig:
    return choose_config(RunOptions(**options), probe, device)


def test_scale_precision_and_compilation_follow_the_device_unless_they_are_asked_for() -> None:
    base = config(GPU, "cuda").base
    assert base == replace(BUDGETS["full"], source="auto", precision="bf16", compile=True)
    assert config(replace(GPU, bf16=False), "cuda").base.precision == "fp32"
    base = config().base
    assert base == replace(BUDGETS["cpu"], source="auto")
    assert (base.precision, base.compile, base.device) == ("fp32", False, "cpu")
    base = config(scale="full", precision="bf16", compile=True, target=0.5).base
    changes = {"precision": "bf16", "compile": True, "target_accuracy": 0.5}
    assert base == replace(BUDGETS["full"], source="auto", device="cpu", **changes)
    base = config(GPU, "cuda", scale="cpu", compile=False).base
    assert (base.scale, base.compile, base.device) == ("cpu", False, "cuda")


@pytest.mark.parametrize(
    ("grid", "options", "expected"),
    [
        ("seed", {}, "bf16"),
        ("seed", {"select": "cnn2"}, "bf16"),
        ("seed", {"precision": "fp32"}, "fp32"),
        ("default", {"select": "cnn4"}, "fp32"),  # vit_tiny, also in the grid, gains nothing
        ("default", {"select": "cnn4", "precision": "bf16"}, "bf16"),
    ],
)
def test_a_grid_has_one_precision_that_all_its_nets_gain_from(
    monkeypatch: pytest.MonkeyPatch, grid: str, options: dict[str, Any], expected: str
) -> None:
    def precisions(*, native: bool) -> set[str]:
        monkeypatch.setattr(cpu, "multiplies_bf16", lambda: native)
        asked = RunOptions(grid=grid, **options)
        return {cell.precision for cell in choose_cells(asked, choose_config(asked, NO_GPU, "cpu"))}

    assert precisions(native=True) == {expected}
    assert precisions(native=False) == {options.get("precision", "fp32")}


def test_impossible_compilation_is_refused_only_if_requested() -> None:
    assert not config(NO_COMPILER).base.compile
    assert not config(replace(GPU, compiler_problem="no C compiler found"), "cuda").base.compile
    with pytest.raises(UsageError, match=r"no C\+\+ compiler found\. .* add --no-compile"):
        config(NO_COMPILER, compile=True)
    assert config(GPU, "cuda", compile_mode="max-autotune").base.compile_mode == "max-autotune"
    for probe, device, compiled in ((GPU, "cuda", False), (NO_GPU, "cpu", True)):
        with pytest.raises(UsageError, match="is for nets compiled for a GPU"):
            config(probe, device, compile_mode="max-autotune", compile=compiled)


def test_options_set_any_axis_and_set_changes_only_selected_cells() -> None:
    options = RunOptions(architecture="cnn2", optimizer="muon", augmentation="color", epochs=9)
    (cell,) = choose_cells(replace(options, pipeline="native", select="native"), config())
    assert cell.name == "cnn2/muon/color/native"
    assert cell.epochs == 9
    assert dict(cell.recipe.options).keys() >= {"momentum"}  # muon's own, not those it replaced
    options = RunOptions(select="sgd and cnn4", overrides=("optimizer.momentum=0.8",))
    cells = choose_cells(options, config())
    assert cells
    assert all(dict(cell.recipe.options)["momentum"] == 0.8 for cell in cells if cell.recipe)
    with pytest.raises(UsageError, match="option of the optimizer adamw 'momentum'"):
        choose_cells(replace(options, select="cnn4"), config())


def test_an_option_changes_only_its_field_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU has another default batch size than the smoke grid; seed has no label smoothing."""
    on_gpu = config(GPU, "cuda")
    plain = choose_cells(RunOptions(grid="smoke"), on_gpu)
    cells = choose_cells(RunOptions(grid="smoke", architecture="cnn6"), on_gpu)
    assert [cell.without("architecture", "recipe") for cell in cells] == [
        cell.without("architecture", "recipe") for cell in plain
    ]
    assert {(cell.architecture, cell.batch_size) for cell in cells} == {("cnn6", 64)}
    cells = choose_cells(RunOptions(grid="seed", optimizer="sgd"), on_gpu)
    assert {cell.optimizer for cell in cells} == {"sgd"}
    assert {cell.epochs for cell in cells} == {5, 25}
    assert {cell.recipe.label_smoothing for cell in cells if cell.recipe} == {0.0}
    grid = Grid(name="fixed", why="a test", cells=lambda config: [made_run().cell])
    monkeypatch.setitem(GRIDS, "fixed", grid)
    with pytest.raises(UsageError, match="--optimizer has no effect on the grid fixed"):
        choose_cells(RunOptions(grid="fixed", optimizer="muon"), config())


def made_plan(folder: Path, seeds: int) -> Plan:
    runs = [made_run(seed) for seed in range(seeds)]
    return Plan(device="cpu", folder=folder, data_dir=folder, runs=runs)


@pytest.mark.parametrize(
    ("status", "place", "place_when_retrying"),
    [
        (None, "todo", "todo"),
        ("ok", "done", "done"),
        ("crashed", "failed", "todo"),
        ("interrupted", "todo", "todo"),
        ("skipped", "todo", "todo"),
    ],
)
def test_a_run_is_sorted_by_its_record(
    tmp_path: Path, status: str | None, place: str, place_when_retrying: str
) -> None:
    if status is not None:
        Store(tmp_path).write(made_record() if status == "ok" else made_failure(status=status))
    for retry, expected in ((False, place), (True, place_when_retrying)):
        begun: list[bool] = []
        options, begin = RunOptions(retry_failed=retry), lambda begun=begun: begun.append(True)
        found = sort_out(made_plan(tmp_path, 1), options, pytest.fail, begin)
        places = {name for name in ("todo", "done", "failed", "skipped") if getattr(found, name)}
        assert places == {expected}
        assert begun == [True] * (expected == "todo")


def test_runs_that_cannot_run_here_are_skipped_unless_they_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.registry, "problem", lambda cell: "kornia is not installed")
    Store(tmp_path).write(made_record(0))
    Store(tmp_path).write(made_failure(1))
    found = sort_out(made_plan(tmp_path, 3), RunOptions(), pytest.fail)
    assert [record.seed for record in found.done] == [0]
    assert [(run.seed, reason) for run, reason in found.skipped] == [
        (1, "kornia is not installed"),
        (2, "kornia is not installed"),
    ]
    assert found.todo == found.failed == []


def test_runs_that_do_not_fit_the_images_are_skipped_and_the_others_run(tmp_path: Path) -> None:
    small = {"architecture": "cnn2", "width": 0.125, "train_images": None}
    runs = [made_run(batch_size=size, **small) for size in (64, 90, 91)]
    plan = replace(made_plan(tmp_path, 0), runs=runs)
    feasible = Feasibility(made_data([i % 10 for i in range(100)]))
    plan = replace(plan, feasible=lambda: feasible)
    found = sort_out(plan, RunOptions(), pytest.fail)
    assert [run.cell.batch_size for run in found.todo] == [64, 90]
    ((run, reason),) = found.skipped
    assert (run.cell.batch_size, "add --set batch_size=90" in reason) == (91, True)
    assert found.work.keys() == {run.id for run in found.todo}
    Store(tmp_path).write(record_of(runs[2]))
    for options in (RunOptions(), RunOptions(retry_suspect=True)):
        assert [record.run_id for record in sort_out(plan, options, pytest.fail).done]


def test_what_is_done_is_planned_without_torch(tmp_path: Path) -> None:
    options = {"grid": "smoke", "select": "native", "source": "shapes", "device": "cpu"}
    plan = planning.make(RunOptions(out=tmp_path, **options), print, NO_GPU)
    (run,) = plan.todo
    fingerprint = sources.load("shapes").fingerprint
    assert (run.cell.source, run.fingerprint) == ("shapes", fingerprint)
    assert run.versions == {a: registry.find(a, getattr(run.cell, a)).version for a in AXES}
    program = f"""
import sys
from pathlib import Path
from bench.grid import plan
from bench.grid.options import RunOptions
from bench.machine.environment import Probe
options = RunOptions(out=Path({str(tmp_path)!r}), **{options})
made = plan.make(options, print, Probe(), lambda: print("begins"))
print(len(made.done), "torch" in sys.modules)"""
    assert checkout.python(program).stdout.split() == ["begins", "0", "True"]
    Store(plan.folder).write(record_of(run))
    assert checkout.python(program).stdout.split() == ["1", "False"]


def test_exclusive_timing_trains_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = {2: 3, 1: 0, 0: None}
    for seed, count in beside.items():
        conditions = Conditions(neighbours=count)
        Store(tmp_path).write(made_record(seed, record={"conditions": conditions}))
    warnings: list[str] = []
    found = sort_out(made_plan(tmp_path, 4), RunOptions(), warnings.append)
    assert ([run.seed for run in found.todo], warnings) == ([3], [])
    found = sort_out(made_plan(tmp_path, 4), RunOptions(exclusive_timing=True), warnings.append)
    assert [run.seed for run in found.todo] == [2, 3]
    assert [record.seed for record in found.done] == [0, 1]
    (line,) = warnings
    assert line.startswith("1 run shared the host with others")
    monkeypatch.setattr(planning.registry, "problem", lambda cell: "kornia is not installed")
    found = sort_out(made_plan(tmp_path, 3), RunOptions(exclusive_timing=True), warnings.append)
    assert len(found.done) == 3, "what cannot be done again is not taken back"


def test_retry_suspect_repeats_runs_with_suspect_times(tmp_path: Path) -> None:
    for seed, reasons in enumerate([(), ("the GPU was slowed by heat",)]):
        Store(tmp_path).write(made_record(seed, record={"timing_suspect": reasons}))
    found = sort_out(made_plan(tmp_path, 2), RunOptions(), pytest.fail)
    assert not found.todo
    found = sort_out(made_plan(tmp_path, 2), RunOptions(retry_suspect=True), pytest.fail)
    assert [run.seed for run in found.todo] == [1]


def test_the_expected_work_follows_the_net_and_the_budget() -> None:
    nets = ("cnn4", "resnet18", "vit_tiny")
    todo = [made_run(architecture=net, width=0.125, train_images=900) for net in nets]
    todo += [made_run(architecture="cnn4", width=0.125, train_images=1800), made_run(width=1.0)]
    plugin = replace(todo[0], versions={"architecture": "1 of my_nets.py 01"})
    feasible = Feasibility(made_data([i % 10 for i in range(3000)]))
    work = feasible.work_of([*todo, plugin, made_run(architecture="gone")])
    assert sorted(work) == sorted(run.id for run in todo)
    cnn4, resnet18, vit_tiny, more_images, whole = (work[run.id] for run in todo)
    assert 4 < resnet18 / cnn4 < 8 < vit_tiny / cnn4 < 12
    assert more_images == 2 * cnn4
    assert whole > 20 * resnet18


def test_a_damaged_record_is_reported_and_its_run_repeated(tmp_path: Path) -> None:
    path = Store(tmp_path).record_path(made_run().id)
    path.parent.mkdir()
    path.write_bytes(b"{")
    warnings: list[str] = []
    found = sort_out(made_plan(tmp_path, 1), RunOptions(), warnings.append)
    assert [run.id for run in found.todo] == [made_run().id]
    assert str(path) in warnings[0]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Simulates a device and the source that `auto` gives; nothing may be trained."""

    def pretend(probe: Probe = NO_GPU, source: str = "shapes", problem: str = "") -> None:
        device_is(monkeypatch, probe)
        source_is(monkeypatch, planning, tmp_path, source, problem)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning.environment, "machine_name", lambda device: f"my-{device}")
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: pytest.fail("it trained"))
    return pretend


def test_a_plan_writes_nothing_and_notes_another_source(machine: Machine, tmp_path: Path) -> None:
    machine(NO_GPU, "cifar10")
    out = tmp_path / "out"
    plan = planning.make(RunOptions(out=out, seeds=2, select="cnn4"), print)
    assert plan.folder == out / "my-cpu_cifar10_cpu"
    assert plan.data_dir == tmp_path / "data"
    assert {run.seed for run in plan.runs} == {0, 1}
    assert {run.fingerprint for run in plan.runs} == {"f00d"}
    assert plan.todo == plan.runs
    assert not out.exists()
    assert [text[:6] for text in plan.notices] == ["No GPU"]
    machine(GPU, "shapes", "no mirror answered")
    plan = planning.make(RunOptions(out=tmp_path), print)
    assert {run.cell.source for run in plan.runs} == {"shapes"}
    (notice,) = plan.notices
    assert "CIFAR-10 is unavailable here (no mirror answered)" in notice
    assert "'shapes'" in notice
    assert plan.folder.name == "my-cuda_shapes_full"


def test_a_selection_is_read_before_data(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(NO_GPU, "shapes")
    for name in ("resolve", "load"):
        monkeypatch.setattr(planning.sources, name, lambda *args, **kwargs: pytest.fail("fetched"))
    with pytest.raises(UsageError, match="did you mean resnet18"):
        planning.make(RunOptions(select="resnt18"), print)


WORDS = ["--source", "shapes", "--device", "cpu", "-k"]


def test_the_decode_grid_says_which_images_it_needs() -> None:
    for source in ("auto", "npz:mine.npz", "folder:tree", "folder:tree[size=224]"):
        with pytest.raises(UsageError, match="add --source folder:PATH --decode --image-size 224"):
            planning.check(RunOptions(grid="decode", source=source))
    planning.check(RunOptions(grid="decode", source="folder:tree[size=224,decode]"))


def test_a_dry_run_and_the_summary_name_their_shard_even_if_empty(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    for number, runs in ((1, 0), (2, 1)):
        words = [*WORDS, "resnet18/sgd/none/kornia", "--dry-run", "--shard", f"{number}/2"]
        done = CliRunner().invoke(app.app, ["run", *words])
        assert done.exit_code == 0, done.output
        assert f"shard {number}/2: {runs} of the grid's 1 runs" in done.stdout
        assert done.stdout.count("to run   resnet18") == runs
    outcome = executing.GridOutcome(counts=executing.Counter(ok=1), interrupted=False)
    monkeypatch.setattr(executing, "run_plan", lambda *args, **kwargs: outcome)
    done = CliRunner().invoke(app.app, ["run", *WORDS, "resnet18 and sgd", "--shard", "2/4"])
    assert done.exit_code == 0, done.output
    first, *_, above = done.stdout[: done.stdout.index("\n1 run: 1 ok")].splitlines()
    assert above.startswith("shard 2/4: ")
    assert first != above or done.stdout.count("shard 2/4: ") == 2
