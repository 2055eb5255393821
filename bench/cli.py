"""The command line: parses, calls, shows. What is done lives elsewhere."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from bench import __version__
from bench.errors import UsageError

app = typer.Typer(
    help="Which data pipeline, architecture, optimizer and augmentation gets a GPU to an accuracy "
    "soonest: trains every cell of a grid under one set of rules and writes one matrix.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ResultT = TypeVar("ResultT")
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where sources are cached; may hold torchvision's CIFAR files."),
]


def main() -> None:
    """Entry point of the `bench` script."""
    app()


def guarded(work: Callable[[], ResultT], *, debug: bool) -> ResultT:
    """Runs `work`; an error meant for people ends the command with one sentence and exit code 2."""
    try:
        return work()
    except KeyboardInterrupt:
        fail("interrupted", code=130)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, people_errors()):
            fail(str(error), code=2)
        fail(f"{type(error).__name__}: {error} (a fault of the suite; --debug shows where)", code=1)


def people_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is one sentence for people. Those of unused modules are not imported."""
    named = {
        "bench.files": ["StoreError"],
        "bench.record": ["RecordError"],
        "bench.report.columns": ["TableError"],
        "pipelines.sources.base": ["SourceError"],
        "pipelines.catalog": ["UnknownName", "Unavailable"],
        "pipelines.base": ["Unsupported"],
    }
    found: list[type[Exception]] = [UsageError]
    for module, names in named.items():
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


def fail(message: str, *, code: int) -> NoReturn:
    """Prints one sentence on standard error and ends the command."""
    typer.echo(f"bench: {message}", err=True)
    raise typer.Exit(code)


def version(show: bool) -> None:
    """Prints the version and ends."""
    if show:
        typer.echo(f"pipeline-bench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of `bench` itself."""


@app.command()
def run(
    grid: Annotated[
        str, typer.Option(help="Which grid; `bench list grids` shows them.")
    ] = "default",
    select: Annotated[
        str, typer.Option("-k", help="Only cells whose name matches: 'resnet18 and not adamw'.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds per cell, from 0 on.")] = 1,
    pipeline: Annotated[
        str | None, typer.Option(help="Run all cells through this pipeline: 'kornia[compiled]'.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="auto, cifar10, cifar100, shapes or folder:PATH.")
    ] = "auto",
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option(help="auto, cuda or cpu.")] = "auto",
    scale: Annotated[
        str | None, typer.Option(help="full or cpu; chosen by the device if left out.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs instead of the scale's.")] = None,
    target: Annotated[
        float | None, typer.Option(help="Validation accuracy for time to accuracy, as in 0.9.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    compile_nets: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile the nets (default: on a GPU)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Results folder.")] = Path("results"),
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Longest that one run may take, in s.")
    ] = 3600.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed runs again.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failed run.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would run, what is done and what cannot; write nothing."
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Train what is not done yet of a grid; safe to repeat."""
    from bench.plan import Options

    options = Options(
        grid=grid,
        select=select,
        seeds=seeds,
        pipeline=pipeline,
        source=source,
        data_dir=data_dir,
        device=device,
        scale=scale,
        epochs=epochs,
        target=target,
        precision=precision,
        compile=compile_nets,
        out=out,
        retry_failed=retry_failed,
    )

    def work() -> int:
        from bench import plan as planning
        from bench.console import Console
        from bench.environment import command_line
        from bench.execute import execute

        console = Console()
        plan = planning.make(options, console.progress)
        console.plan(plan, every=dry_run)
        if dry_run:
            return 0
        command = command_line()
        outcome = execute(plan, console, command=command, timeout_s=timeout, fail_fast=fail_fast)
        console.summary(outcome.counts, plan.folder / "matrix.md", command)
        return outcome.exit_code

    raise typer.Exit(guarded(work, debug=debug))


@app.command()
def table(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    sort: Annotated[str | None, typer.Option(help="Column to sort by, best first.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show, comma-separated.")] = None,
    select: Annotated[
        str, typer.Option("-k", help="Only cells whose name matches: 'resnet18 and not adamw'.")
    ] = "",
    debug: Debug = False,
) -> None:
    """Show the matrix: one table for each machine, source and scale, this machine's first."""

    def work() -> str:
        from bench.console import terminal
        from bench.environment import this_machine
        from bench.report.table import render_all

        screen = terminal()
        return render_all(
            results,
            form,  # type: ignore[arg-type]
            machine=this_machine(),
            sort_by=sort,
            columns=columns.split(",") if columns else None,
            expression=select,
            width=screen.width,
            color=screen.color,
        )

    typer.echo(guarded(work, debug=debug), nl=False)


@app.command(name="list")
def list_entries(
    kind: Annotated[
        str | None,
        typer.Argument(help="architectures, optimizers, augmentations, pipelines or grids."),
    ] = None,
    debug: Debug = False,
) -> None:
    """List what there is, with the reason for each; * marks what the default grid uses."""

    def work() -> str:
        from bench.listing import render

        return render(kind)

    typer.echo(guarded(work, debug=debug), nl=False)


@app.command()
def doctor(
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="Results folder to look at.")] = Path("results"),
    debug: Debug = False,
) -> None:
    """Tell what works on this machine, and what to do about what does not."""

    def work() -> bool:
        from bench.doctor import checks, render

        found = checks(data_dir, out)
        typer.echo(render(found), nl=False)
        return any(check.status == "fail" for check in found)

    raise typer.Exit(2 if guarded(work, debug=debug) else 0)


@app.command()
def data(
    source: Annotated[str, typer.Argument(help="cifar10, cifar100, shapes or folder:PATH.")],
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Fetch, check and cache a source, and tell what it holds."""

    def work() -> str:
        import pipelines

        found = pipelines.load(source, data_dir, report=lambda text: typer.echo(text, err=True))
        height, width = found.train.image_size
        return (
            f"{found.name}: {len(found.train)} training and {len(found.test)} test images of "
            f"{width}x{height} in {len(found.train.classes)} classes, "
            f"fingerprint {found.fingerprint}"
        )

    typer.echo(guarded(work, debug=debug))
