"""`bench show`: shows one run."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Format, Results, check_format, screen


def show(
    run: Annotated[
        str, typer.Argument(help="The run's id or name, a part of it, or words as for -k.")
    ],
    results: Results = Path("results"),
    form: Format = "rich",
    debug: Debug = False,
) -> None:
    """Show one run: scores, times, curve, confusion, and the command that trains it again."""
    from bench.report.show import as_json, find_run, render

    check_format(form)
    found = find_run(results, run)
    width, color = screen()
    text = as_json(found) if form == "json" else render(found, width=width, color=color)
    typer.echo(text, nl=False)
