"""The command line `bench`: assembles the verbs, one module each."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench import __version__
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.data import data
from bench.cli.doctor import doctor
from bench.cli.list import list_entries
from bench.cli.loaders import loaders
from bench.cli.merge import merge
from bench.cli.report import report
from bench.cli.roofline import roofline
from bench.cli.run import EXAMPLES, RunVerb, run
from bench.cli.show import show
from bench.cli.table import table
from bench.cli.tensorboard import tensorboard
from bench.cli.tune import tune
from bench.cli.verb import FULL_DISK, ParserError, Verb, fail, in_words, parser_problem
from bench.process import exit_without_teardown


class Verbs(TyperGroup):
    """All verbs; help is shown as rich tables, errors as plain lines."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of `bench`, with their values described in words."""
        return in_words(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is named."""
        try:
            return super().resolve_command(ctx, args)
        except ParserError as error:
            fail(parser_problem(error), code=2)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help."""
        self.rich_markup_mode = "rich"
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=Verbs,
    help="Finds which data pipeline, architecture, optimizer and augmentation reach a given "
    "accuracy soonest: trains every cell of a grid under the same rules and writes one matrix.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=RunVerb, epilog=EXAMPLES)(run)
for verb in (
    table, report, show, compare, tensorboard, tune, loaders, roofline, check, merge,
):  # fmt: skip
    app.command(cls=Verb)(verb)
app.command("list", cls=Verb)(list_entries)
app.command(cls=Verb)(doctor)
app.command(cls=Verb)(data)


def _show_version(show: bool) -> None:
    if show:
        typer.echo(f"pipeline-bench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of `bench` itself."""


def main() -> None:
    """Entry point of the `bench` script."""
    exit_without_teardown(_main)


def _main() -> None:
    prepare_output()
    if problem := environment_problem(sys.argv[1:]):
        typer.echo(f"bench: {problem}", err=True)
        sys.exit(2)
    try:
        app()
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in FULL_DISK or error.filename:
            raise
        from bench.cli.progress import discard

        discard(sys.stdout)
        problem = f"the output cannot be written: {error.strerror}; write it elsewhere"
        typer.echo(f"bench: {problem}", err=True)
        sys.exit(2)


def prepare_output() -> None:
    """Makes any text printable in any locale: escapes what cannot be encoded."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def environment_problem(arguments: Sequence[str]) -> str:
    """Why no verb can work here, in one sentence; "" if there is no problem."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() does the same
    except OSError:
        return "the current folder has been deleted: change to another one with cd"
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            return (
                f"the argument {os.fsencode(argument)!r} is not valid in the encoding of this "
                f"locale, {sys.getfilesystemencoding()}: rename it, or set LC_ALL=C.UTF-8"
            )
    return ""
