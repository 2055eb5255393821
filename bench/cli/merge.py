"""`bench merge`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug
from bench.text import in_one_line, printable


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders; they are only read.")],
    out: Annotated[Path, typer.Option(help="Results folder to bring them to.")],
    debug: Debug = False,
) -> None:
    """Bring results folders together in one; no record is lost, and it is safe to repeat."""

    def work() -> int:
        from bench.check.derived import refresh
        from bench.store import merge as merging

        merged = merging.merge(sources, out, _tell, refresh)
        typer.echo(printable(merging.told(merged, out)), nl=False)
        return merged.exit_code

    raise typer.Exit(run_verb(work, debug=debug))


def _tell(said: str) -> None:
    typer.echo(in_one_line(said), err=True)
