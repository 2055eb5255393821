"""The matrix as text: for a terminal, as Markdown, CSV or JSON."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from bench.files import StoreError
from bench.record import Record
from bench.report.columns import NOT_REACHED, TableError, laid_out, shown
from bench.report.layout import for_terminal, markdown
from bench.report.matrix import Matrix, build, sort
from bench.selection import select
from bench.store import Store, groups
from pipelines.catalog import unknown_name

Form = Literal["rich", "md", "csv", "json"]


def render(
    matrix: Matrix,
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
        form: "rich" for a terminal, "md", "csv" or "json".
        sort_by: A column of the frame, best first; the default is time to accuracy.
        columns: Columns of the frame, or those that "rich" and "md" show; None for the usual ones.
        width: Characters that "rich" may use; None for as many as it takes.
        color: Whether "rich" may use bold and colours.

    Raises:
        TableError: An unknown form or column.
    """
    frame = _sorted(matrix.frame, sort_by)
    if form == "csv":
        return _chosen(_plain(frame), columns).to_csv(index=False, lineterminator="\n")
    if form == "json":
        rows = json.loads(_chosen(frame, columns).to_json(orient="records", double_precision=15))
        return json.dumps({"title": matrix.title, "rows": rows}, indent=1) + "\n"
    cells, best = shown(frame, columns)
    if form == "md":
        return markdown(matrix.title, laid_out(cells), cells, best)
    if form == "rich":
        return for_terminal(
            matrix.title,
            laid_out(cells),
            cells,
            best,
            width=width,
            color=color,
            keep=columns is not None,
        )
    raise TableError(unknown_name("table format", form, list(get_args(Form))))


def render_all(
    root: Path,
    form: Form = "rich",
    *,
    machine: Collection[str] = (),
    sort_by: str | None = None,
    columns: Sequence[str] | None = None,
    expression: str = "",
    width: int | None = None,
    color: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> str:
    """One table for each group under `root`: those of `machine` first, reference matrices last.

    CSV is one table whose rows name machine, source and scale; JSON is a list of tables.

    Raises:
        StoreError: There is nothing to show, or it cannot be read.
        TableError: An unknown form or column.
        UsageError: An `expression` that matches no cell.
    """
    found = {}
    for group in groups(root, machines=machine):
        store = Store(group.folder)
        found[group] = store.records(on_warning) if on_warning else store.records()
    cells = list({record.cell: None for records in found.values() for record in records})
    if not cells:
        raise StoreError(f"there are no records under {root}: `bench run` makes some")
    chosen = set(select(cells, expression))
    matrices = [
        build(kept, reference=group.reference)
        for group, records in found.items()
        if (kept := [record for record in records if record.cell in chosen])
    ]
    if form == "csv":
        frames = [_sorted(matrix.frame, sort_by) for matrix in matrices]
        whole = pd.concat([_plain(frame) for frame in frames], ignore_index=True)
        return _chosen(whole, columns).to_csv(index=False, lineterminator="\n")
    texts = [
        render(matrix, form, sort_by=sort_by, columns=columns, width=width, color=color)
        for matrix in matrices
    ]
    if form == "json":
        return json.dumps([json.loads(text) for text in texts], indent=1) + "\n"
    return "\n".join(texts)


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
    return sort(frame, column)


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


__all__ = ["Form", "TableError", "render", "render_all", "write_matrix"]
