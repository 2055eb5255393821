"""`bench table`: shows the matrix as text."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Results, Select, screen
from bench.errors import UsageError, check_choice


def table(
    results: Results = Path("results"),
    form: Annotated[
        str, typer.Option("--format", help="rich, md, csv or json; parquet with --per-run.")
    ] = "rich",
    runs: Annotated[
        bool, typer.Option("--per-run", help="One row a run with all settings (default: csv).")
    ] = False,
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

    if runs:
        shaping = {
            "sort": sort,
            "columns": columns,
            "group": group,
            "metric": metric,
            "pivot": pivot,
        }
        if given := [name for name, value in shaping.items() if value is not None]:
            raise UsageError(f"--per-run shows all columns of every run: leave --{given[0]} out")
        per_run(results, form, expression=select, target=target)
        return
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


def per_run(results: Path, form: str, *, expression: str, target: float | None) -> None:
    """Prints one row for each run, whose columns have numbers, or texts, or are empty."""
    import pandas as pd

    from bench.machine.environment import machine_names
    from bench.report.render import as_markdown, csv
    from bench.report.table import selected
    from bench.store.flat import row
    from bench.store.store import to_stderr

    form = "csv" if form == "rich" else form
    check_choice("format with --per-run", form, ["csv", "json", "md", "parquet"])
    if form == "parquet" and find_spec("pyarrow") is None:
        raise UsageError("--format parquet needs pyarrow: pip install pyarrow")
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is no text: add > runs.parquet")
    found = selected(results, machine_names(), expression, target, to_stderr)
    own = {group: part for group, part in found.items() if not group.reference} or found
    frame = pd.DataFrame([row(run) for runs, _ in own.values() for run in runs]).convert_dtypes()
    empty = frame.columns[frame.isna().all()]  # their texts would be "", so they are of numbers
    frame = frame.astype(dict.fromkeys(empty, "Float64"))
    frame = frame.astype(dict.fromkeys(frame.select_dtypes(object), "string"))
    if form == "parquet":
        sys.stdout.buffer.write(frame.to_parquet(index=False))
    elif form == "json":
        typer.echo(frame.to_json(orient="records", indent=1, double_precision=15))
    elif form == "md":
        texts = frame.astype("string").fillna("").map(as_markdown)
        typer.echo(texts.to_markdown(index=False, disable_numparse=True))
    else:
        typer.echo(csv(frame), nl=False)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None
