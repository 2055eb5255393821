"""`bench report` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import DataDir, Debug, Select
from bench.text import printable


def report(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    out: Annotated[
        Path | None,
        typer.Option(help="One page of all groups, and nothing in the groups' folders."),
    ] = None,
    select: Select = "",
    update: Annotated[
        Path | None,
        typer.Option(help="A Markdown file: puts the conclusions between its markers."),
    ] = None,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write a page for each machine, source and scale: matrix, figures, conclusions, reasons."""

    def work() -> list[Path]:
        from bench.machine.environment import this_machine
        from bench.report.page.writing import Order, write

        order = Order(
            results=results,
            out=out,
            select=select,
            update=update,
            data_dir=data_dir,
            machines=this_machine(),
        )
        return write(order, lambda said: typer.echo(printable(said), err=True))

    for path in run_verb(work, debug=debug):
        typer.echo(printable(str(path)))
