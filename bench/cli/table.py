"""`bench table`: shows the matrix as text."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Results, Select, screen


def table(
    results: Results = Path("results"),
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by this column, best first.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Columns to show.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Recalculate time to accuracy for this validation accuracy."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="AXIS,AXIS", help="Axes to keep; rows are means over the others."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Show one column as a pivot table, such as accuracy.")
    ] = None,
    pivot: Annotated[
        str | None, typer.Option(metavar="ROW,COLUMN", help="Axes of the pivot table.")
    ] = None,
    select: Select = "",
    debug: Debug = False,
) -> None:
    """Show the answers and the matrix, one table per machine, source and scale.

    The reference matrices are shown if there are no other results, or if the folder names them:
    `bench table results/reference`.
    """
    from bench.machine.environment import machine_names
    from bench.report.table import render_all, shape
    from bench.store.store import gc_paused

    width, color = screen()
    with gc_paused():  # thousands of records are created and kept
        text = render_all(
            results,
            form,  # type: ignore[arg-type]
            machine=machine_names(),
            sort_by=sort,
            columns=_names(columns),
            expression=select,
            target=target,
            shape=shape(group=_names(group), metric=metric, pivot=_names(pivot)),
            width=width,
            color=color,
        )
    typer.echo(text, nl=False)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None
