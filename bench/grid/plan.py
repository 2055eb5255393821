"""The plan of a command: from options to the runs that are left to do; writes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bench.cell import AXES, FIELDS, Cell, CompileMode, Precision, Run, Scale, decodes, plugins_of
from bench.errors import UsageError, check_choice
from bench.grid import grids, recipe_files, registry
from bench.grid.grids import BUDGETS, GridConfig
from bench.grid.options import RunOptions
from bench.grid.overrides import apply as apply_overrides
from bench.grid.overrides import parse as parse_overrides
from bench.machine import cpu, environment
from bench.machine.doctor import gpu_problems
from bench.machine.environment import Probe
from bench.naming import Names
from bench.record import RERUN, Record
from bench.selection import parse_shard, select
from bench.store.groups import group_folder
from bench.store.store import Store
from bench.text import Log, count
from pipelines import sources
from pipelines.catalog import UnknownName

if TYPE_CHECKING:
    from bench.grid.feasible import Feasibility
    from pipelines.sources.base import Data

MOST_SEEDS = 10_000
MOST_EPOCHS = 1_000_000
AUTO = "auto"
SEEDS = range(2**32)  # accepted by every random number generator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A grid on this machine, and what is left of it.

    Args:
        folder: The group folder of machine, source and scale.
        failed: Records of runs that failed, which only --retry-failed trains again.
        seen: Content hashes of the existing records, by run id.
        plugins: Path or module of each plugin in use, by its origin as text.
        shard: Description of the selected shard; "" for the whole grid.
        work: Work of the runs to do and done, relative to each other, by id (see `Feasibility`).
        feasible: Gives what checks runs against the images of the source, which takes torch.
    """

    device: str
    folder: Path
    data_dir: Path
    runs: list[Run]
    todo: list[Run] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    skipped: list[tuple[Run, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    shard: str = ""
    work: Mapping[str, float] = field(default_factory=dict)
    feasible: "Callable[[], Feasibility] | None" = None

    @cached_property
    def names(self) -> Names:
        """Names that tell its runs apart."""
        return Names(run.cell for run in self.runs)


def make(
    options: RunOptions,
    report: Log,
    probe: Probe | None = None,
    begin: Callable[[], object] = lambda: None,
) -> Plan:
    """Resolves device, scale, source and cells, and looks up what is done; see `sort_out`.

    Torch and the entries' files are imported only for runs that are not done.

    Raises:
        UsageError: An option names something that does not exist or is unavailable.
    """
    check(options)
    probe = probe or environment.probe()
    notices: list[str] = []
    device = choose_device(options.device, probe, notices, options.scale)
    config = choose_config(options, probe, device)
    if device == "cuda" and options.compile is None and not config.base.compile:
        notices.append(
            f"torch.compile cannot work here ({probe.compiler_problem}): nets run uncompiled, as "
            "cells of their own (compile off). Run `bench doctor` for what to do, or add "
            "--no-compile."
        )
    cells = choose_cells(options, config)  # before anything is downloaded
    notices += registry.broken_files()
    data_dir = options.data_dir or sources.default_data_dir()
    load: Callable[[], Data]
    if known := sources.identify(options.source, data_dir):
        source, fingerprint = known
        load = partial(sources.load, source, data_dir, report=report)
    else:
        source, fingerprint, load = _loaded(options.source, data_dir, report, notices)
    cells = [replace(cell, source=source) for cell in cells]
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    whole, shard = grids.runs_of(cells, seeds, fingerprint), parse_shard(options.shard)
    runs = shard.part(whole)
    plan = _planned(runs, cells, data_dir, options, notices)
    if shard.of > 1:
        of_grid = f"shard {shard}: {len(runs)} of the grid's {len(whole)} runs"
        plan = replace(plan, shard=of_grid)
    plan = replace(plan, feasible=_feasibility(load))
    plan = sort_out(plan, options, notices.append, begin)
    if plan.todo and plan.feasible:
        notices += plan.feasible().warnings(plan.todo)
    return plan


def _loaded(
    asked: str, data_dir: Path, report: Log, notices: list[str]
) -> tuple[str, str, "Callable[[], Data]"]:
    """Loads a source: its name, its fingerprint, and its images."""
    from pipelines.sources import describe  # late: imports torch, as loading does

    source, problem = sources.resolve(asked, data_dir, report=report)
    if problem:
        notices.append(
            f"CIFAR-10 is unavailable here ({problem}). Training on the generated source "
            f"{source!r} instead, so results say nothing about CIFAR-10. "
            "Use --source cifar10 to insist, or --data-dir if you have the files."
        )
    data = sources.load(source, data_dir, report=report)
    notices += describe.notices(data)
    return data.name, data.fingerprint, lambda: data


def _feasibility(load: "Callable[[], Data]") -> "Callable[[], Feasibility]":
    """Loads the images and what checks runs against them when it is first called."""

    @cache
    def made() -> "Feasibility":
        from bench.grid.feasible import Feasibility  # late: imports torch

        return Feasibility(load())

    return made


def _planned(
    runs: list[Run], cells: Sequence[Cell], data_dir: Path, options: RunOptions, notices: list[str]
) -> Plan:
    """A plan of runs of these cells, which share device, source and scale."""
    cell = cells[0]
    machine = environment.machine_name(cell.device)
    return Plan(
        device=cell.device,
        folder=group_folder(options.out, machine, cell.source, cell.scale),
        data_dir=data_dir,
        runs=runs,
        notices=notices,
        plugins=registry.places(**{axis: {getattr(c, axis) for c in cells} for axis in AXES}),
    )


# Options about where and how runs are trained; all others choose what is trained.
WHERE_AND_HOW = ("data_dir", "out", "retry_failed", "exclusive_timing", "plugins")
SPELLED = {"select": "-k", "overrides": "--set"}  # options named differently from their field


def rerun(record: Record, options: RunOptions, report: Log, probe: Probe | None = None) -> Plan:
    """The plan that trains exactly the run of a record again, however it ended.

    Raises:
        UsageError: The run cannot be trained here, or would not be the same run any more.
    """
    _refuse_choices(options)
    problem = _rerun_problem(record, probe or environment.probe())
    if problem:
        raise UsageError(f"--rerun: {record.name} cannot be trained here: {problem}")
    cell, data_dir = record.cell, options.data_dir or sources.default_data_dir()
    data = sources.load(cell.source, data_dir, report=report)
    versions = registry.versions(cell)
    run = Run(cell=cell, seed=record.seed, versions=versions, fingerprint=data.fingerprint)
    if run.id != record.run_id:
        raise UsageError(
            f"--rerun: {record.name} would be a different run now: {_difference(record, run)}"
        )
    plan = _planned([run], [cell], data_dir, options, [])
    feasible = _feasibility(lambda: data)
    if reason := feasible().problem(run):
        raise UsageError(f"--rerun: {record.name} cannot be trained here: {reason}")
    plan = sort_out(replace(plan, feasible=feasible), RunOptions(), plan.notices.append)
    return replace(plan, todo=[run], done=[], failed=[])


def _refuse_choices(options: RunOptions) -> None:
    for option in fields(RunOptions):
        if option.name not in WHERE_AND_HOW and getattr(options, option.name) != option.default:
            spelled = SPELLED.get(option.name, f"--{option.name}")
            raise UsageError(f"--rerun trains the recorded run: leave out {spelled}")


def _rerun_problem(record: Record, probe: Probe) -> str:
    """Why the cell of a record cannot be trained here; "" when it can."""
    cell = record.cell
    try:
        problem = registry.problem(cell)
    except UnknownName as error:
        plugins = ", ".join(plugins_of(record.versions))
        return f"{error}{f' (it was trained with --plugin: {plugins})' if plugins else ''}"
    if cell.device == "cuda" and not probe.cuda:
        return f"it needs a GPU: {probe.cuda_problem}"
    if cell.compile and probe.compiler_problem:
        return f"it needs torch.compile: {probe.compiler_problem}"
    return problem or ""


def _difference(record: Record, run: Run) -> str:
    """Why training a record's run now would be a different run."""
    changes = [
        f"the {axis} {getattr(run.cell, axis)} is version {version}, "
        f"the record's is version {record.versions.get(axis)}"
        for axis, version in run.versions.items()
        if version != record.versions.get(axis)
    ]
    if run.fingerprint != record.fingerprint:
        changes.append(f"the images of {run.cell.source} have changed")
    return "; ".join(changes) or "the record's id does not match its cell"


def check(options: RunOptions) -> None:
    """Raises UsageError for values that are invalid on any machine."""
    check_choice("grid", options.grid, grids.grids())
    if grids.grids()[options.grid].files and not decodes(options.source):
        raise UsageError(
            f"the grid {options.grid} is about decoding image files: add "
            "--source folder:PATH --decode --image-size 224"
        )
    for name, value, known in (
        ("--device", options.device, ["auto", "cpu", "cuda"]),
        ("--scale", options.scale, get_args(Scale)),
        ("--precision", options.precision, [AUTO, *get_args(Precision)]),
        ("--compile-mode", options.compile_mode, get_args(CompileMode)),
    ):
        if value is not None:
            check_choice(f"value of {name}", value, known)
    for name, number, most in (
        ("--seeds", options.seeds, MOST_SEEDS),
        ("--epochs", options.epochs, MOST_EPOCHS),
    ):
        if number is not None and number < 1:
            raise UsageError(f"{name} is at least 1, got {number}")
        if number is not None and number > most:
            raise UsageError(f"{name} is at most {most:,}, got {number}")
    if options.seed is not None and options.seed not in SEEDS:
        raise UsageError(f"--seed takes one number from 0 to {SEEDS[-1]}, got {options.seed}")
    if options.seed is not None and options.seeds != 1:
        raise UsageError("--seed is for one seed and --seeds for the first few: leave one out")
    parse_shard(options.shard)
    if options.target is not None and not 0 < options.target <= 1:
        raise UsageError(f"--target is a share in (0, 1], as in 0.9 for 90 %, got {options.target}")


def choose_device(asked: str, probe: Probe, notices: list[str], scale: str | None = None) -> str:
    """ "cuda" or "cpu"; raises UsageError if a requested GPU does not work."""
    if asked == "cuda" and not probe.cuda:
        raise UsageError(
            f"--device cuda: no GPU can be used here: {probe.cuda_problem}. "
            f"bench doctor says: {gpu_problems(probe)}. Or leave --device out to use the CPU."
        )
    if asked == "auto" and not probe.cuda:
        usual = " at scale 'cpu' (narrow nets, part of the data, a short budget)"
        notices.append(
            f"No GPU ({probe.cuda_problem}): running on the CPU{'' if scale else usual}."
        )
    return "cuda" if probe.cuda and asked != "cpu" else "cpu"


def choose_config(options: RunOptions, probe: Probe, device: str) -> GridConfig:
    """Settings that all cells share, with defaults by device and scale."""
    scale: Scale = "full" if device == "cuda" else "cpu"
    scale = next((name for name in get_args(Scale) if name == options.scale), scale)
    if options.compile and probe.compiler_problem:
        raise UsageError(
            f"torch.compile cannot work here: {probe.compiler_problem}. "
            "Run `bench doctor` for what to do, or add --no-compile."
        )
    usual = replace(
        BUDGETS[scale],
        source=options.source,
        device=device,
        precision="bf16" if device == "cuda" and probe.bf16 else "fp32",
        compile=device == "cuda" and not probe.compiler_problem,
    )
    try:
        base = replace(usual, **_asked_fields(options))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if base.compile_mode != "default" and not (base.compile and device == "cuda"):
        raise UsageError(
            f"--compile-mode {base.compile_mode} is for nets compiled for a GPU: leave it out here"
        )
    return GridConfig(base=base, book=recipe_files.book(scale, options.recipes))


def _asked_fields(options: RunOptions) -> dict[str, Any]:
    """Fields of the cells that options set, by name."""
    asked = {name: getattr(options, info.option) for name, info in FIELDS.items() if info.option}
    return {name: value for name, value in asked.items() if value not in (None, AUTO)}


def choose_cells(options: RunOptions, config: GridConfig) -> list[Cell]:
    """The grid's cells selected by -k, with their values replaced by those of the options."""
    values = parse_overrides(options.overrides)
    names = _asked_names(options)
    cells = grids.cells_of(options.grid, replace(config, replaced=names))
    for axis, name in names.items():
        if any(getattr(cell, axis) != name for cell in cells):
            raise UsageError(f"--{axis} has no effect on the grid {options.grid}: leave it out")
    asked = _asked_fields(options)
    cells = grids.unique([replace(cell, **asked) for cell in cells])
    # One precision for the whole grid, whatever -k selects, as its nets are compared.
    if options.precision == AUTO and all(map(_gains_from_bf16, cells)):
        cells = [replace(cell, precision="bf16") for cell in cells]
    return apply_overrides(select(cells, options.select, registry.hint), values)


def _gains_from_bf16(cell: Cell) -> bool:
    """Whether a cell's net trains faster in bf16 than in fp32 on this CPU."""
    if cell.device != "cpu" or not cpu.multiplies_bf16():
        return False
    net = registry.net(cell.architecture)
    return net is not None and net.bf16_on_cpu


def _asked_names(options: RunOptions) -> dict[str, str]:
    """Entries that options set in every cell, by axis."""
    names = {axis: getattr(options, axis) for axis in AXES if getattr(options, axis) is not None}
    for axis, name in names.items():
        registry.check(axis, name)  # raises if there is no such entry, or it is unavailable
    try:
        return {k: registry.canonical_name(v) if k == "pipeline" else v for k, v in names.items()}
    except ValueError as error:
        raise UsageError(f"--pipeline: {error}") from error


def _shared_host(record: Record, options: RunOptions) -> bool:
    """Whether a successful run is repeated because other runs were active on its host."""
    return options.exclusive_timing and record.status == "ok" and bool(record.conditions.neighbours)


def _is_left(record: Record | None, options: RunOptions) -> bool:
    """Whether a run is to be trained, by its record alone."""
    if record is None or record.status in RERUN:
        return True
    if record.status != "ok":
        return options.retry_failed
    suspect = options.retry_suspect and not record.times_trusted
    return suspect or _shared_host(record, options)


def sort_out(
    plan: Plan, options: RunOptions, warn: Log, begin: Callable[[], object] = lambda: None
) -> Plan:
    """Sorts a plan's runs into todo, done, failed and skipped, by the existing records.

    Args:
        begin: Called once, early, if a run may be left to do.
    """
    begin = cache(begin)
    records = {record.run_id: record for record in Store(plan.folder).records(on_warning=warn)}
    elsewhere = {r.run.result_id: r for r in records.values() if ":" in r.cell.source}
    todo, done, failed, skipped, unsettled = [], [], [], [], []
    for run in plan.runs:
        record = records.get(run.id) or elsewhere.get(run.result_id)
        left = _is_left(record, options)
        if record is not None and record.status == "ok" and not left:
            done.append(record)
        else:
            unsettled.append((run, record, left))
    if any(
        left and (record is None or record.status != "skipped") for _, record, left in unsettled
    ):
        begin()
    problem_of = cache(registry.problem)
    repeated = 0
    for run, record, left in unsettled:
        reason = problem_of(run.cell)
        if left and not reason:
            begin()
        if plan.feasible and not reason:
            reason = plan.feasible().problem(run)
        if record and record.status == "ok" and reason:
            done.append(record)
        elif reason:
            skipped.append((run, reason))
        elif record is not None and not left:
            failed.append(record)
        else:
            todo.append(run)
            repeated += record is not None and _shared_host(record, options)
    if repeated:
        runs = count(repeated, "run", "runs")
        warn(f"{runs} shared the host with others and will be repeated (--exclusive-timing)")
    work: Mapping[str, float] = {}
    if unsettled and plan.feasible:
        if todo:
            work = plan.feasible().work_of([*todo, *(record.run for record in done)])
        plan.feasible().close()
    return replace(
        plan,
        todo=todo,
        done=done,
        failed=failed,
        skipped=skipped,
        seen={run_id: record.content_hash for run_id, record in records.items()},
        work=work,
    )
