"""`bench show`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Results, screen


def show(
    run: Annotated[
        str, typer.Argument(help="The run's id or name, or a part that no other run has.")
    ],
    results: Results = Path("results"),
    form: Annotated[str, typer.Option("--format", help="rich or json.")] = "rich",
    debug: Debug = False,
) -> None:
    """Show one run: scores, times, curve, confusion, and the command that trains it again."""
    from bench.errors import UsageError
    from bench.report.show import as_json, find_run, render
    from pipelines.catalog import unknown_name

    if form not in ("rich", "json"):
        raise UsageError(unknown_name("format", form, ["rich", "json"]))
    found = find_run(results, run)
    width, color = screen()
    text = as_json(found) if form == "json" else render(
        found, width=width, color=color
    )  # fmt: skip
    typer.echo(text, nl=False)
