"""`bench merge`: merges results folders."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, log
from bench.text import in_one_line, printable


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCES", help="Results folders; they are only read."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Results folder to merge into.")],
    debug: Debug = False,
) -> int:
    """Merge results folders into one; no record is lost, and it is safe to repeat."""
    from bench.check.derived import refresh
    from bench.store import merge as merging

    merged = merging.merge(sources, out, lambda text: log(in_one_line(text)), refresh)
    typer.echo(printable(merging.summary(merged, out)), nl=False)
    return merged.exit_code
