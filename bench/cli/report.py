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
        typer.Option(
            help="Write one page of all groups here instead of one into each group's folder."
        ),
    ] = None,
    select: Select = "",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write an HTML page for each group: conclusions, matrix, figures, reasons."""

    def work() -> list[Path]:
        from bench.machine.environment import this_machine
        from bench.report.page.writing import ReportOptions, write

        options = ReportOptions(
            results=results,
            out=out,
            select=select,
            data_dir=data_dir,
            machines=this_machine(),
        )
        return write(options, lambda line: typer.echo(printable(line), err=True))

    for path in run_verb(work, debug=debug):
        typer.echo(printable(str(path)))
