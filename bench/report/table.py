"""The matrix as text: for a terminal, as Markdown, CSV, HTML, LaTeX or JSON."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from bench.record import Record, RecordSummary, RecordT
from bench.report.matrix import Matrix, build, cautions, retarget, versions
from bench.report.pivot import Grouping, Pivot, Shape, averaged, footings, pivoted, sorted_by
from bench.report.render import (
    COLUMNS,
    NOT_REACHED,
    Form,
    Sheet,
    TableError,
    as_json,
    check_form,
    csv,
    drawn,
    laid_out,
    shown,
)
from bench.selection import select
from bench.store.files import StoreError
from bench.store.groups import groups
from bench.store.store import Store
from pipelines.catalog import unknown_name


def render(
    matrix: Matrix[RecordT],
    form: Form = "rich",
    *,
    sort_by: str | None = None,
    columns: Sequence[str] | None = None,
    width: int | None = None,
    color: bool = False,
) -> str:
    """One matrix as text.

    Args:
        matrix: What to show.
        form: "rich" for a terminal, "md", "csv", "html", "latex" or "json".
        sort_by: A column of the frame, best first; the default is time to accuracy.
        columns: Columns of the frame; None for the usual ones, and for all in "csv" and "json".
        width: Characters that "rich" may use; None for as many as it takes.
        color: Whether "rich" may use bold and colours.

    Raises:
        TableError: An unknown form or column.
    """
    check_form(form)
    sheet = _sheet(
        matrix.frame,
        form,
        title=matrix.title,
        notes=[*cautions(matrix.frame)],
        sort_by=sort_by,
        columns=columns,
    )
    return drawn(sheet, form, width=width, color=color)


def render_all(
    root: Path,
    form: Form = "rich",
    *,
    machine: Collection[str] = (),
    sort_by: str | None = None,
    columns: Sequence[str] | None = None,
    expression: str = "",
    target: float | None = None,
    shape: Shape = None,
    width: int | None = None,
    color: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> str:
    """One table for each group under `root`: those of `machine` first, reference matrices last.

    CSV is one table whose rows name machine, source and scale; JSON is a list of tables.

    Args:
        root: A results folder, or one group in it.
        form: As in `render`.
        machine: Names of this machine.
        sort_by, columns: As in `render`; not for a pivot table.
        expression: What -k takes; which cells to show.
        target: Validation accuracy that time to accuracy is for; None for that of each run.
        shape: Means over axes, or a pivot table, instead of a row for each cell.
        width, color: As in `render`.
        on_warning: Is told of damaged records.

    Raises:
        StoreError: There is nothing to show, or it cannot be read.
        TableError: An unknown form or column, or a target that is no share.
        UsageError: An `expression` that matches no cell.
    """
    check_form(form)
    if isinstance(shape, Pivot) and (sort_by is not None or columns is not None):
        raise TableError(
            "a pivot table has the columns of its axes: leave --sort and --columns out"
        )
    sheets = [
        sheet
        for kept, reference, notes in _told(root, machine, expression, target, on_warning)
        for sheet in _sheets(kept, reference, form, notes, shape, sort_by, columns)
    ]
    if form == "csv":
        whole = pd.concat([sheet.frame for sheet in sheets], ignore_index=True)
        return csv(whole)
    if form == "json":
        return json.dumps([as_json(sheet) for sheet in sheets], indent=1) + "\n"
    return "\n".join(drawn(sheet, form, width=width, color=color) for sheet in sheets)


def _chosen_groups(
    kind: type[RecordT],
    root: Path,
    machine: Collection[str],
    expression: str,
    on_warning: Callable[[str], None] | None,
) -> list[tuple[list[RecordT], bool]]:
    """The records of each group that `expression` chooses, and whether it is a reference."""
    found = {}
    for group in groups(root, machines=machine):
        store = Store(group.folder)
        warned = {"on_warning": on_warning} if on_warning else {}
        found[group] = store.records_as(kind, **warned, sanitized=True)
    if not any(found.values()):
        raise StoreError(f"there are no records under {root}: `bench run` makes some")
    if not expression:  # thousands of records pass here
        return [(records, group.reference) for group, records in found.items() if records]
    cells = list({record.cell: None for records in found.values() for record in records})
    chosen = set(select(cells, expression))
    return [
        (kept, group.reference)
        for group, records in found.items()
        if (kept := [record for record in records if record.cell in chosen])
    ]


def _told(
    root: Path,
    machine: Collection[str],
    expression: str,
    target: float | None,
    on_warning: Callable[[str], None] | None,
) -> Iterator[tuple[Sequence[RecordSummary], bool, list[str]]]:
    """Likewise, and what is to be said of them; curves are read where a target asks for them."""
    if target is None:
        for seen, reference in _chosen_groups(RecordSummary, root, machine, expression, on_warning):
            yield seen, reference, []
        return
    for whole, reference in _chosen_groups(Record, root, machine, expression, on_warning):
        changed = retarget(whole, target)
        yield changed.records, reference, [changed.note]


def _sheets(
    records: Sequence[RecordSummary],
    reference: bool,
    form: Form,
    notes: Sequence[str],
    shape: Shape,
    sort_by: str | None,
    columns: Sequence[str] | None,
) -> list[Sheet]:
    """The tables of one group: one, or one for each footing where cells are averaged."""
    made = []
    for part in footings(records) if shape else [records]:
        matrix, software = build(part, reference=reference), versions(part)
        if isinstance(shape, Pivot):
            made.append(_pivot_sheet(matrix, shape, notes, software))
            continue
        frame, more = matrix.frame, list[str]()
        if isinstance(shape, Grouping):
            frame, more = averaged(frame, shape.axes)
        else:
            more = [*cautions(frame)]
        made.append(
            _sheet(
                frame,
                form,
                title=matrix.title,
                notes=(*notes, *more),
                software=software,
                sort_by=sort_by,
                columns=columns,
            )
        )
    return made


def _sheet(
    frame: pd.DataFrame,
    form: Form,
    *,
    title: str,
    notes: Sequence[str] = (),
    software: str = "",
    sort_by: str | None,
    columns: Sequence[str] | None,
) -> Sheet:
    frame = _sorted(frame, sort_by)
    figures = form in ("csv", "json")
    cells, best = ({}, {}) if figures else shown(frame, columns)
    return Sheet(
        title=title,
        notes=tuple(notes),
        versions=software,
        columns=laid_out(cells),
        cells=cells,
        best=best,
        frame=_chosen(_plain(frame), columns) if figures else frame,
        rows=_chosen(frame, columns) if figures else frame,
        keep=columns is not None,
    )


def _pivot_sheet(
    matrix: Matrix[RecordT], pivot: Pivot, notes: Sequence[str], software: str
) -> Sheet:
    table = pivoted(matrix.frame, pivot)
    down, across = table.axes
    header = COLUMNS[pivot.metric].header
    return Sheet(
        title=f"{header}, {down} x {across} | {matrix.title}",
        notes=(*notes, *table.notes),
        versions=software,
        columns=table.columns,
        cells=table.cells,
        best=table.best,
        frame=table.frame,
        rows=table.frame,
        keep=True,
    )


def write_matrix(store: Store, records: Iterable[Record]) -> Path:
    """Writes matrix.csv and matrix.md of a group and returns the path of the latter."""
    matrix = build(records)
    store.write_derived("matrix.csv", render(matrix, "csv"))
    return store.write_derived("matrix.md", render(matrix, "md"))


def _sorted(frame: pd.DataFrame, column: str | None) -> pd.DataFrame:
    if column is None:
        return frame
    if column not in frame.columns:
        raise TableError(unknown_name("column to sort by", column, list(frame.columns)))
    return sorted_by(frame, column)


def _chosen(frame: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
    for name in columns or ():
        if name not in frame.columns:
            raise TableError(unknown_name("column", name, list(frame.columns)))
    return frame if columns is None else frame[list(columns)]


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame for CSV: a missed target in words, so that it is no gap."""
    times = ["time_to_accuracy_s", "time_to_accuracy_with_compile_s"]
    plain = frame.astype(dict.fromkeys(times, object))
    plain.loc[(frame["reached"] == 0) & (frame["seeds"] > 0), times] = NOT_REACHED
    return plain
