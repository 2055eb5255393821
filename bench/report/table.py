"""The matrix as text: for a terminal, as Markdown, CSV or JSON."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from bench.files import StoreError
from bench.record import Record
from bench.report.columns import COLUMNS, NOT_REACHED, TableError, header, is_number, shown
from bench.report.matrix import Matrix, build, sort
from bench.selection import select
from bench.store import Store, groups
from pipelines.catalog import unknown_name

NOTES_WIDTH = 30  # of a terminal; longer notes are wrapped
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
        return _markdown(matrix.title, cells, best)
    if form == "rich":
        return _rich(matrix.title, cells, best, width, color, keep=columns is not None)
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


def _markdown(title: str, cells: dict[str, list[str]], best: dict[str, set[int]]) -> str:
    texts = {
        header(name): [
            f"**{text}**" if index in best[name] else text.replace("|", "\\|")
            for index, text in enumerate(column)
        ]
        for name, column in cells.items()
    }
    table = pd.DataFrame(texts).to_markdown(
        index=False,
        colalign=["right" if is_number(name) else "left" for name in cells],
        disable_numparse=True,
    )
    return f"### {title}\n\n{table}\n"


def _rich(
    title: str,
    cells: dict[str, list[str]],
    best: dict[str, set[int]],
    width: int | None,
    color: bool,
    *,
    keep: bool,
) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    widths = {name: max(map(len, [header(name), *texts])) + 3 for name, texts in cells.items()}
    dropped = [] if keep or width is None else _dropped(widths, width)
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    names = [name for name in cells if name not in dropped]
    for name in names:
        table.add_column(
            header(name), justify="right" if is_number(name) else "left", overflow="fold"
        )
    for index in range(len(next(iter(cells.values()), []))):
        styles = ["bold green" if index in best[name] else "" for name in names]
        table.add_row(
            *(Text(cells[name][index], style) for name, style in zip(names, styles, strict=True))
        )
    needed = sum(widths[name] for name in names) + 2
    out = StringIO()
    console = Console(
        file=out, width=width or max(needed, len(title)), force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    console.print(table)
    if dropped:
        console.print(
            f"left out for width: {', '.join(header(name) for name in dropped)}", style="dim"
        )
    return out.getvalue()


def _dropped(widths: dict[str, int], width: int) -> list[str]:
    """The columns to leave out so that the rest fits, the least needed first."""
    dropped: list[str] = []
    total = sum(widths.values()) + 2 - max(0, widths.get("notes", 0) - NOTES_WIDTH)
    for name in sorted(widths, key=lambda name: -COLUMNS[name].priority):
        if total <= width or not COLUMNS[name].priority:
            break
        dropped.append(name)
        total -= widths[name]
    return dropped


__all__ = ["Form", "TableError", "render", "render_all", "write_matrix"]
