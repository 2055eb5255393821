"""`bench run`: trains the runs of a grid."""

import sys
from contextlib import closing, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import verb

if TYPE_CHECKING:
    from bench.executors.base import Reporter
    from bench.executors.local import WarmStart
    from bench.grid.options import RunOptions
    from bench.grid.plan import Plan
    from bench.report.answers import Answer
    from bench.text import Log

EXAMPLES = """Examples:

bench run --grid smoke   # a few short runs, to see that everything works

bench run -k "resnet18 and sgd" --seeds 5   # part of the default grid

bench run --rerun resnet18/sgd/none/dali/seed0   # exactly this run again"""
PANELS = {
    "What is trained": (
        "grid", "select", "seeds", "seed", "architecture", "optimizer", "augmentation", "pipeline",
        "plugin", "source", "image_size", "decode", "skip_bad", "data_dir", "rerun",
    ),
    "Budget and recipe": (
        "scale", "epochs", "target", "precision", "compile_nets", "compile_mode", "overrides",
        "recipes",
    ),
    "Where it is trained": (
        "device", "executor", "address", "slurm", "shard", "timeout", "exclusive_timing",
    ),
    "Output": ("out", "report", "profile", "keep_weights", "progress", "quiet", "dry_run", "debug"),
    "Repeating": ("retry_failed", "retry_suspect", "fail_fast", "wait"),
}  # fmt: skip
InAllCells = Annotated[str | None, typer.Option(metavar="NAME", help="Replaces the grid's own.")]


class RunVerb(verb.Verb):
    """`bench run`, with its options in panels."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        panels = {name: panel for panel, names in PANELS.items() for name in names}
        self.params.sort(key=lambda parameter: [*panels].index(str(parameter.name)))
        for parameter in self.params:
            vars(parameter)["rich_help_panel"] = panels[str(parameter.name)]


def run(
    grid: Annotated[str, typer.Option(help="Name; `bench list grids` shows all.")] = "default",
    select: verb.Select = "",
    seeds: Annotated[int, typer.Option(help="Seeds per cell; N trains seeds 0 to N-1.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Train only this seed.")] = None,
    architecture: InAllCells = None,
    optimizer: InAllCells = None,
    augmentation: InAllCells = None,
    pipeline: InAllCells = None,
    plugin: verb.Plugin = None,
    source: verb.Source = "auto",
    image_size: verb.ImageSize = None,
    decode: verb.Decode = False,
    skip_bad: verb.SkipBad = False,
    data_dir: verb.DataDir = None,
    rerun: Annotated[
        str | None, typer.Option(metavar="RUN", help="Train this run of --out again, not a grid.")
    ] = None,
    scale: verb.Scale = None,
    epochs: verb.Epochs = None,
    target: Annotated[
        float | None, typer.Option(help="Validation accuracy to reach, such as 0.9.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16, or auto: bf16 where the device is faster with it."),
    ] = "auto",
    compile_nets: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile the nets (default: on a GPU)."),
    ] = None,
    compile_mode: Annotated[
        str | None,
        typer.Option(help="default, or max-autotune to let it time kernels (minutes a net)."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change all cells: optimizer.lr=0.1; can be repeated.",
        ),
    ] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prefer this file's recipes to built-in ones."),
    ] = None,
    device: verb.Device = "auto",
    executor: Annotated[
        str, typer.Option(help="local, ray or slurm (docs/executors.md).")
    ] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Ray cluster; auto finds one on this host.")
    ] = "auto",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="For sbatch, such as partition=gpu; can be repeated."
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Train part K of N (docs/executors.md).")
    ] = None,
    timeout: verb.Timeout = 3600,
    exclusive_timing: Annotated[
        bool,
        typer.Option(
            "--exclusive-timing",
            help="One run at a time per host; repeats runs that shared the host with others.",
        ),
    ] = False,
    out: verb.Out = Path("results"),
    report: Annotated[bool, typer.Option("--report", help="Write the HTML report too.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Keep a trace of a few steps per run, for Perfetto.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep each run's weights (docs/reference.md).")
    ] = False,
    progress: Annotated[str, typer.Option(help="auto, or json: one line per event.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only problems and the summary.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained; write nothing.")
    ] = False,
    debug: verb.Debug = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train failed runs again.")
    ] = False,
    retry_suspect: Annotated[
        bool, typer.Option("--retry-suspect", help="Train runs with suspect times again.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failed run.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another `bench run` uses the folder.")
    ] = False,
) -> int:
    """Train the runs of a grid that are not done yet; safe to repeat."""
    given = dict(locals())
    from bench.cli.progress import reporter
    from bench.executors import choose_executor, create_executor
    from bench.executors.local import warm_start
    from bench.grid.options import RunOptions
    from bench.machine.environment import command_line
    from bench.process import signals_raise

    given |= {
        "overrides": overrides or (),
        "source": verb.source_name(source, image_size, decode=decode, skip_bad=skip_bad),
        "compile": compile_nets,
        "plugins": plugin or (),
    }
    options = RunOptions(**{option.name: given[option.name] for option in fields(RunOptions)})
    choice = choose_executor(executor, address, slurm or ())
    keep_worker = choice.name == "local" and not wait and not dry_run
    with signals_raise(), closing(reporter(progress, quiet=quiet)) as console:
        what = f"the grid {grid}" if rerun is None else f"{rerun} again"
        console.progress(f"planning {what}: looking at this machine, the data and {out}")
        with closing(warm_start(keep_worker=keep_worker)) as early:
            from bench.executors.runner import run_plan  # after the first line, as it takes a while

            plan = _plan(options, rerun, console, early)
            console.plan(plan, every=dry_run)
            if dry_run:
                return 0
            command = command_line()
            with redirect_stdout(sys.stderr):  # for what Ray prints
                if not plan.todo:
                    early.close()
                where = create_executor(
                    choice,
                    device=plan.device,
                    timeout_s=timeout,
                    log=console.progress,
                    exclusive_timing=exclusive_timing,
                    early=early,
                )
                early.close()  # unless the executor has taken its worker
                outcome = run_plan(
                    plan,
                    console,
                    executor=where,
                    command=command,
                    fail_fast=fail_fast,
                    profile=profile,
                    keep_weights=keep_weights,
                    exclusive_timing=exclusive_timing,
                    wait=wait,
                    advice=". Add --wait to start when it has ended",
                )
        found = [] if outcome.interrupted else _answers(plan.folder, console.notice)
        if plan.shard:
            console.progress(plan.shard)
        console.summary(outcome.counts, plan.folder / "matrix.md", command, found)
        if outcome.problem:
            verb.log(f"bench: {outcome.problem}. When that is fixed, continue with: {command}")
        if profile:
            from bench.training.profiler import traces_summary  # imports torch

            console.progress(traces_summary(plan.folder, plan.todo))
        if report and not outcome.problem:
            from bench.report.page.writing import write_report

            for page in write_report(plan.folder, console.progress):
                console.progress(f"report: {page}")
    return outcome.exit_code


def _plan(
    options: "RunOptions", rerun: str | None, console: "Reporter", early: "WarmStart"
) -> "Plan":
    from bench.grid import plan as planning
    from bench.grid.plugins import used

    with used(options.plugins) as plugins:
        if rerun is None:
            plan = planning.make(options, console.progress, early.probe, early.begin)
        else:
            from bench.report.show import find_run  # imports pandas

            found = find_run(options.out, rerun, any_group=True)
            options = replace(options, out=found.root)
            early.begin()
            plan = planning.rerun(found.record, options, console.progress, early.probe)
    plan.notices.extend(plugins.notices())
    if plan.shard:
        console.progress(plan.shard)
    return plan


def _answers(folder: Path, notice: "Log") -> "list[Answer]":
    """The answers of a group's records; why there are none is a notice."""
    from bench.report.answers import answers
    from bench.store.loaders_record import read_loaders
    from bench.store.store import Store

    try:
        found = answers(Store(folder).records(), loaders=read_loaders(folder))
        reason = "there is no record"
    except Exception as error:  # noqa: BLE001 - what has been trained is safe, the exit code stays
        found, reason = [], f"{type(error).__name__}: {error}"
    if not found:
        notice(f"no answers from {folder}: {reason}")
    return found
