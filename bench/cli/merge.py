"""`bench merge`, `bench export` and `bench import` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug, Out, Select
from bench.text import in_one_line, printable


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders; they are only read.")],
    out: Annotated[Path, typer.Option(help="Results folder to bring them to.")],
    debug: Debug = False,
) -> None:
    """Bring results folders together in one; no record is lost, and it is safe to repeat."""

    def work() -> int:
        from bench.store import merge as merging

        merged = merging.merge(sources, out, _tell)
        typer.echo(printable(merging.told(merged, out)), nl=False)
        return merged.exit_code

    raise typer.Exit(run_verb(work, debug=debug))


def export_results(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")],
    file: Annotated[Path, typer.Argument(help="Where to, as in results.zip.")],
    select: Select = "",
    without: Annotated[
        list[str] | None,
        typer.Option(help="predictions, logs, profiles, tensorboard or examples; can be repeated."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Put results into one file, to be taken elsewhere."""

    def work() -> int:
        from bench import bundle

        exported = bundle.export(results, file, select=select, without=without or (), report=_tell)
        typer.echo(printable(bundle.told(exported, file)), nl=False)
        return exported.exit_code

    raise typer.Exit(run_verb(work, debug=debug))


def import_results(
    file: Annotated[Path, typer.Argument(help="What `bench export` has written.")],
    out: Out = Path("results"),
    debug: Debug = False,
) -> None:
    """Bring the results in a file into a folder, as `bench merge` does; checked before."""

    def work() -> int:
        from bench import unpacking
        from bench.process import signals_raise
        from bench.store import merge as merging

        with signals_raise():  # so that what is unpacked aside does not stay
            merged = unpacking.import_file(file, out, _tell)
        typer.echo(printable(merging.told(merged, out)), nl=False)
        return merged.exit_code

    raise typer.Exit(run_verb(work, debug=debug))


def _tell(said: str) -> None:
    typer.echo(in_one_line(said), err=True)
