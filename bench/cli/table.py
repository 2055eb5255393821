"""`bench table` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug, Select


def table(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    form: Annotated[
        str, typer.Option("--format", help="rich, md, csv, html, latex or json.")
    ] = "rich",
    sort: Annotated[str | None, typer.Option(help="Column to sort by, best first.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show, comma-separated.")] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Validation accuracy that time to accuracy is for, from the curves."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Axes to keep, comma-separated; rows are means over the others."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="One figure as a pivot table, as in accuracy.")
    ] = None,
    pivot: Annotated[
        str | None, typer.Option(help="ROW,COLUMN: the axes of the pivot table.")
    ] = None,
    select: Select = "",
    debug: Debug = False,
) -> None:
    """Show the matrix: one table for each machine, source and scale, this machine's first."""

    def work() -> str:
        from bench.executors.progress import terminal
        from bench.machine.environment import this_machine
        from bench.report.pivot import shape
        from bench.report.table import render_all
        from bench.store.store import gc_paused

        screen = terminal()
        with gc_paused():  # it would look through all records again and again
            return render_all(
                results,
                form,  # type: ignore[arg-type]
                machine=this_machine(),
                sort_by=sort,
                columns=_names(columns),
                expression=select,
                target=target,
                shape=shape(group=_names(group), metric=metric, pivot=_names(pivot)),
                width=screen.width,
                color=screen.color,
            )

    typer.echo(run_verb(work, debug=debug), nl=False)


def _names(text: str | None) -> list[str] | None:
    """Comma-separated names; None when none were given."""
    return [name.strip() for name in text.split(",")] if text else None
