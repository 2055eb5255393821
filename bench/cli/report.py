"""`bench report`: writes HTML pages."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Results, Select, log
from bench.text import printable


def report(
    results: Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one page of all groups here instead of one into each group's folder.",
        ),
    ] = None,
    select: Select = "",
    debug: Debug = False,
) -> None:
    """Write an HTML page for each group: answers, matrix, figures, conclusions."""
    from bench.machine.environment import machine_names
    from bench.report.page.writing import write_report

    machines = machine_names()
    for path in write_report(results, log, out=out, expression=select, machines=machines):
        typer.echo(printable(str(path)))
