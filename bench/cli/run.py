"""`bench run` on the command line."""

import sys
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import (
    DataDir,
    Debug,
    Decode,
    Device,
    Epochs,
    ImageSize,
    Instead,
    Out,
    Plugin,
    Scale,
    Select,
    Source,
    Timeout,
    spelled,
)
from bench.text import printable

if TYPE_CHECKING:
    from bench.executors import Choice
    from bench.executors.progress import Reporter
    from bench.executors.warm_start import WarmStart
    from bench.grid.options import RunOptions

ADVICE = ". Add --wait to begin after it"
# Fields of the options whose parameter has another name.
RENAMED = {"compile": "compile_nets", "plugins": "plugin"}


def run(
    grid: Annotated[
        str, typer.Option(help="Which grid; `bench list grids` shows them.")
    ] = "default",
    select: Select = "",
    seeds: Annotated[int, typer.Option(help="Seeds per cell, from 0 on.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    architecture: Instead = None,
    optimizer: Instead = None,
    augmentation: Instead = None,
    pipeline: Instead = None,
    plugin: Plugin = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, as in optimizer.lr=0.1; can be repeated."),
    ] = None,
    recipes: Annotated[
        Path | None, typer.Option(help="A file of recipes that go before the shipped ones.")
    ] = None,
    source: Source = "auto",
    image_size: ImageSize = None,
    decode: Decode = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    scale: Scale = None,
    epochs: Epochs = None,
    target: Annotated[
        float | None, typer.Option(help="Validation accuracy for time to accuracy, as in 0.9.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    compile_nets: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile the nets (default: on a GPU)."),
    ] = None,
    out: Out = Path("results"),
    timeout: Timeout = 3600.0,
    executor: Annotated[
        str, typer.Option(help="Where runs are trained: local, ray or slurm; docs/executors.md.")
    ] = "local",
    address: Annotated[
        str, typer.Option(help="Of the Ray cluster, as host:port; auto finds one on this host.")
    ] = "auto",
    slurm: Annotated[
        list[str] | None,
        typer.Option("--slurm", metavar="KEY=VALUE", help="As partition=gpu; can be repeated."),
    ] = None,
    exclusive_timing: Annotated[
        bool,
        typer.Option(
            "--exclusive-timing",
            help="One run at a time on each host; again those that were timed beside others.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed runs again.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failed run.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another `bench run` has the folder.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="K/N: part K of N of the grid; see docs/travelling.md.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would run, what is done and what cannot; write nothing."
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Keep a trace of a few steps of each run, for Perfetto."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write the group's report at the end.")
    ] = False,
    progress: Annotated[
        str, typer.Option(help="auto, or json: an object a line for each event.")
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show problems and the summary only.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train what is not done yet of a grid; safe to repeat."""
    from bench.grid.options import RunOptions

    options = RunOptions(
        grid=grid,
        select=select,
        seeds=seeds,
        seed=seed,
        architecture=architecture,
        optimizer=optimizer,
        augmentation=augmentation,
        pipeline=pipeline,
        changes=changes or (),
        recipes=recipes,
        source=run_verb(lambda: spelled(source, image_size, decode), debug=debug),
        data_dir=data_dir,
        device=device,
        scale=scale,
        epochs=epochs,
        target=target,
        precision=precision,
        compile=compile_nets,
        out=out,
        retry_failed=retry_failed,
        exclusive_timing=exclusive_timing,
        plugins=plugin or (),
        shard=shard,
    )

    def carry_out(console: "Reporter") -> int:
        from bench.executors import choose_executor
        from bench.executors.warm_start import start

        wanted = choose_executor(executor, address, slurm or ())
        # Who trains elsewhere, or may have to wait for others, is in no hurry to have a worker.
        hire = wanted.name == "local" and not wait and not dry_run
        with closing(start(hire=hire)) as early:
            return plan_and_execute(console, early, wanted)

    def plan_and_execute(console: "Reporter", early: "WarmStart", wanted: "Choice") -> int:
        from bench.executors import create_executor
        from bench.executors.runner import run_plan
        from bench.grid import plan as planning
        from bench.grid.plugins import used
        from bench.machine.environment import command_line
        from bench.training.profiler import traces_told

        with used(options.plugins) as plugins:
            plan = planning.make(options, console.progress, early.probe)
        plan.notices.extend(plugins.told())
        if plan.shard:
            console.progress(plan.shard)
        console.plan(plan, every=dry_run)
        if dry_run:
            return 0
        command = command_line()
        # Ray prints what becomes of its nodes; the standard output is for what the console says.
        with redirect_stdout(sys.stderr):
            where = create_executor(
                wanted,
                device=plan.setting.device,
                timeout_s=timeout,
                told=console.progress,
                one_at_a_time=exclusive_timing,
            )
            if where is not None or not plan.todo:
                early.close()
            outcome = run_plan(
                plan,
                console,
                command=command,
                timeout_s=timeout,
                fail_fast=fail_fast,
                profile=profile,
                exclusive_timing=exclusive_timing,
                wait=wait,
                advice=ADVICE,
                executor=where,
                early=early,
            )
        if plan.shard:
            console.progress(plan.shard)
        console.summary(outcome.counts, plan.folder / "matrix.md", command)
        if outcome.problem:
            said = f"{outcome.problem}. When that is mended, go on with: {command}"
            typer.echo(f"bench: {printable(said)}", err=True)
        if profile:
            console.progress(traces_told(plan.folder, plan.todo))
        if report and not outcome.problem:
            from bench.report.page.writing import Order, write

            for page in write(Order(results=plan.folder, data_dir=data_dir), console.progress):
                console.progress(f"report: {page}")
        return outcome.exit_code

    def work() -> int:
        from bench.cli.progress import reporter
        from bench.process import signals_raise

        with signals_raise(), closing(reporter(progress, quiet=quiet)) as console:
            return carry_out(console)

    raise typer.Exit(run_verb(work, debug=debug))


def options_of(words: Sequence[str]) -> "RunOptions":
    """What `bench run WORDS` asks for, without running it.

    Raises:
        UsageError: The command line has no such option or value.
    """
    from bench.errors import UsageError
    from bench.grid.options import RunOptions

    app = typer.Typer(add_completion=False)
    app.command()(run)
    wrong: type[Exception] = typer.BadParameter.__mro__[1]  # click's, or typer's own copy of it
    try:
        said = typer.main.get_command(app).make_context("bench run", list(words)).params
    except wrong as error:
        raise UsageError(f"bench run: {error}") from error
    values = {field.name: said[RENAMED.get(field.name, field.name)] for field in fields(RunOptions)}
    values |= {name: values[name] or () for name in ("changes", "plugins")}
    values["source"] = spelled(said["source"], said["image_size"], said["decode"])
    return RunOptions(**values)
