"""The command line: parses, calls, shows. What is done lives elsewhere.

What a command is started in, made fit for it or refused in one sentence.
"""

import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench import __version__
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.exit import call_app, run_verb
from bench.cli.merge import merge
from bench.cli.options import (
    DataDir,
    Debug,
    Decode,
    Device,
    ImageSize,
    Out,
    Plugin,
    Source,
    spelled,
)
from bench.cli.report import report
from bench.cli.run import run
from bench.cli.show import show
from bench.cli.table import table
from bench.cli.tensorboard import tensorboard
from bench.cli.tune import tune
from bench.process import exit_without_teardown
from bench.text import printable


def prepare_process() -> None:
    """Makes output take any text, whatever the locale; what it cannot show is shown as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def environment_problem(arguments: Sequence[str]) -> str:
    """Why no command can work here, in one sentence; "" when one can.

    Args:
        arguments: Of the command line.
    """
    try:
        os.getcwd()  # noqa: PTH109 - as it is, not as a path
    except OSError:
        return "the folder you are in is gone: change to another one with cd"
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            return (
                f"the argument {os.fsencode(argument)!r} is no text in this locale's encoding, "
                f"{sys.getfilesystemencoding()}: rename what it names, or set LC_ALL=C.UTF-8"
            )
    return ""


app = typer.Typer(
    help="Which data pipeline, architecture, optimizer and augmentation gets a GPU to an accuracy "
    "soonest: trains every cell of a grid under one set of rules and writes one matrix.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the `bench` script."""
    exit_without_teardown(_main)


def _main() -> None:
    prepare_process()
    problem = environment_problem(sys.argv[1:])
    if problem:
        typer.echo(f"bench: {problem}", err=True)
        sys.exit(2)
    call_app(app)


def version(show: bool) -> None:
    """Prints the version and ends."""
    if show:
        typer.echo(f"pipeline-bench {__version__}")
        raise typer.Exit


app.command()(run)
app.command()(table)
app.command()(report)
app.command()(show)
app.command()(tensorboard)
app.command()(tune)
app.command()(check)
app.command()(compare)
app.command()(merge)


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of `bench` itself."""


@app.command()
def loaders(
    pipeline: Annotated[
        list[str] | None, typer.Option(help="Only this one; can be repeated (default: all).")
    ] = None,
    plugin: Plugin = None,
    augmentation: Annotated[
        str, typer.Option(help="What each does to its images.")
    ] = "flip_crop_cutout",
    batch_size: Annotated[
        list[int] | None,
        typer.Option(help="Can be repeated (default: 128, 512, 2048; on a GPU 50000 too)."),
    ] = None,
    source: Source = "auto",
    image_size: ImageSize = None,
    decode: Decode = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    repeats: Annotated[int, typer.Option(help="Of each pipeline and batch size, at most.")] = 5,
    seconds: Annotated[float, typer.Option(help="Least time of a repeat.")] = 1.0,
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    out: Out = Path("results"),
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Do not measure: hold each pipeline to what each op says."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Measure each pipeline alone, without a net, in turns with the others."""
    from bench.loaders.plan import Options

    options = Options(
        pipelines=pipeline or (),
        augmentation=augmentation,
        batch_sizes=batch_size or (),
        source=run_verb(lambda: spelled(source, image_size, decode), debug=debug),
        data_dir=data_dir,
        device=device,
        repeats=repeats,
        repeat_s=seconds,
        out=out,
    )

    def work() -> int:
        from bench.machine.environment import probe_while_importing
        from bench.report.loaders import check_form, images_per_s, render, write_tables

        check_form(form)
        probe = probe_while_importing("torch")  # before anything else imports torch
        from bench.cli.progress import TextReporter
        from bench.executors.progress import terminal
        from bench.grid.plugins import used
        from bench.loaders import measure as measuring
        from bench.loaders import plan as planning
        from bench.store.loaders_record import LoadersRecord
        from bench.store.store import Store
        from bench.tensorboard.overview import write_loaders

        console = TextReporter(file=sys.stderr)
        with used(plugin or ()) as plugins:
            if verify:
                from bench.loaders import verify as verifying

                tried = verifying.verify_all(*verifying.choose(options, probe), console.progress)
                return verifying.show(tried, form, console.progress, partial(typer.echo, nl=False))
            plan = planning.make(options, console.progress, probe)
        for text in (*plan.notices, *plugins.told()):
            console.notice(text)

        def keep(record: LoadersRecord) -> None:
            store = Store(plan.folder)
            write_tables(store, record)
            write_loaders(store, images_per_s(record), on_error=console.progress)

        record = measuring.measure(plan, console.progress, keep)
        screen = terminal()
        table = render(record, form, width=screen.width, color=screen.color)  # type: ignore[arg-type]
        typer.echo(table, nl=False)  # first: what was measured is seen even if the disk is full
        keep(record)
        console.progress(f"table, plot and all figures: {plan.folder / 'loaders.*'}")
        return measuring.exit_code(record)

    raise typer.Exit(run_verb(work, debug=debug))


@app.command(name="list")
def list_entries(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="architectures, optimizers, augmentations, pipelines, grids or plugins."
        ),
    ] = None,
    plugin: Plugin = None,
    debug: Debug = False,
) -> None:
    """List what there is, with the reason for each; * marks what the default grid uses."""

    def work() -> str:
        from bench.cli.list import render_list
        from bench.grid.plugins import used

        with used(plugin or ()) as plugins:
            return render_list(kind, plugins)

    typer.echo(printable(run_verb(work, debug=debug)), nl=False)


@app.command()
def doctor(
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="Results folder to look at.")] = Path("results"),
    debug: Debug = False,
) -> None:
    """Tell what works on this machine, and what to do about what does not."""

    def work() -> bool:
        from bench.machine.doctor import checks, render

        found = checks(data_dir, out)
        typer.echo(printable(render(found)), nl=False)
        return any(check.status == "fail" for check in found)

    raise typer.Exit(2 if run_verb(work, debug=debug) else 0)


@app.command()
def data(
    source: Annotated[str, typer.Argument(help="cifar10, cifar100, shapes or folder:PATH.")],
    image_size: ImageSize = None,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Fetch, check and cache a source, and tell what it holds."""

    def report(text: str) -> None:
        typer.echo(printable(text), err=True)

    def work() -> str:
        import pipelines

        name = spelled(source, image_size, decode=False)
        found = pipelines.load(name, data_dir, report=report)
        height, width = found.train.image_size
        return (
            f"{found.name}: {len(found.train)} training and {len(found.test)} test images of "
            f"{width}x{height} in {len(found.train.classes)} classes, "
            f"fingerprint {found.fingerprint}"
        )

    typer.echo(printable(run_verb(work, debug=debug)))
