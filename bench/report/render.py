"""The columns of the matrix as people see them: headers, units, digits, what is best.

Tables of texts as people see them: Markdown, or drawn for a terminal.

Tables for other documents: CSV, an HTML fragment, and LaTeX with booktabs.

One table in any form: what stands in it, apart from how it is drawn.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd

from bench.errors import BenchError
from pipelines.catalog import unknown_name

if TYPE_CHECKING:
    from rich.table import Table

IN_LINE = {ord(mark): " " for mark in "\n\t"}  # what would move a cell's text out of its place
RULE = "\u2500"
BEST = "bold green"
NOTES_WIDTH = 30  # of a terminal; longer notes are wrapped


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as people see it.

    Args:
        header: Its name with the unit.
        digits: After the decimal point; None for text.
        factor: From the frame's unit to the one shown.
        lower: Whether less is better; None when nothing is.
        priority: A narrow terminal drops the highest first; 0 always stays.
        right: Whether a text is aligned to the right, as figures are.
    """

    header: str
    digits: int | None = None
    factor: float = 1.0
    lower: bool | None = None
    priority: int = 0
    right: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.right or self.digits is not None


def markdown(
    title: str,
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
    *,
    notes: Sequence[str] = (),
) -> str:
    """A Markdown table under a heading.

    Args:
        title: The heading.
        columns: How to show each column, in order.
        cells: Column to the texts of its rows.
        best: Column to the rows that are set in bold.
        notes: Paragraphs between heading and table.
    """
    texts = [
        [
            f"**{text}**" if index in best[name] else as_markdown(text)
            for index, text in enumerate(cells[name])
        ]
        for name in columns
    ]
    headers = [as_markdown(column.header) for column in columns.values()]
    rows = list(zip(*texts, strict=True))
    table = pd.DataFrame(rows, columns=range(len(headers))).to_markdown(
        index=False,
        headers=headers,
        colalign=["right" if column.is_number else "left" for column in columns.values()],
        disable_numparse=True,
    )
    said = [as_markdown(text, in_cell=False) for text in (title, *notes)]
    return "\n\n".join([f"### {said[0]}", *said[1:], table]) + "\n"


def as_markdown(text: str, *, in_cell: bool = True) -> str:
    """A text in one line that ends no cell and makes neither HTML nor a link."""
    plain = " ".join(text.split()).replace("<", "&lt;").replace("](", "]\\(")
    return plain.replace("|", "\\|") if in_cell else plain


def as_terminal(
    title: str,
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
    *,
    notes: Sequence[str] = (),
    width: int | None,
    color: bool,
    keep: bool = False,
) -> str:
    """A table for a terminal; arguments as in `markdown`.

    Args:
        notes: Lines under the table.
        width: Characters that it may use; None for as many as it takes.
        color: Whether it may use bold and colours.
        keep: Whether columns stay that are too wide together.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    cells = {name: [text.translate(IN_LINE) for text in cells[name]] for name in columns}
    room = {
        name: max(map(cell_len, [column.header, *cells[name]])) for name, column in columns.items()
    }
    widths = {name: taken + 3 for name, taken in room.items()}
    dropped = [] if keep or width is None else _dropped(columns, widths, width)
    shown = {name: column for name, column in columns.items() if name not in dropped}
    needed = sum(widths[name] for name in shown) + 2
    out = StringIO()
    console = Console(
        file=out, width=width or max(needed, *map(len, (title, *notes))),
        force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    console.print(Text(title, "bold"))  # above the table, which may be narrower
    if needed <= console.width:
        out.writelines(f"{line}\n" for line in _lines(shown, cells, best, room, color=color))
    else:
        console.print(_wrapped(shown, cells, best))
    for note in notes:
        console.print(Text(note, "dim"))
    if dropped:
        left_out = ", ".join(columns[name].header for name in dropped)
        console.print(Text(f"left out for width: {left_out}", "dim"))
    return out.getvalue()


def _wrapped(
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
) -> "Table":
    """A table that breaks the lines within its cells where it must."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in columns.values():
        table.add_column(
            Text(column.header), justify="right" if column.is_number else "left", overflow="fold"
        )
    for index in range(len(next(iter(cells.values()), []))):
        texts = {name: cells[name][index] for name in columns}
        table.add_row(
            *(Text(text, BEST if index in best[name] else "") for name, text in texts.items())
        )
    return table


def _lines(
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
    room: Mapping[str, int],
    *,
    color: bool,
) -> Iterator[str]:
    """The same where every row fits in a line: rich takes half a second for a thousand rows."""
    from rich.cells import cell_len
    from rich.color import ColorSystem
    from rich.style import Style

    system = ColorSystem.STANDARD if color else None

    def cell(name: str, text: str, style: str) -> str:
        space = " " * (room[name] - cell_len(text))
        drawn = Style.parse(style).render(text, color_system=system) if style else text
        return f" {space}{drawn}  " if columns[name].is_number else f" {drawn}{space}  "

    total = sum(room[name] for name in columns) + 3 * len(columns) + 1
    yield " " * total
    headers = [cell(name, column.header, "bold") for name, column in columns.items()]
    yield "".join((" ", *headers))
    yield f" {RULE * (total - 2)} "
    drawn = [
        [cell(name, text, BEST if i in best[name] else "") for i, text in enumerate(cells[name])]
        for name in columns
    ]
    for row in zip(*drawn, strict=True):
        yield "".join((" ", *row))
    yield " " * total


def _dropped(columns: Mapping[str, Column], widths: Mapping[str, int], width: int) -> list[str]:
    """The columns to leave out so that the rest fits, the least needed first."""
    dropped: list[str] = []
    total = sum(widths.values()) + 2 - max(0, widths.get("notes", 0) - NOTES_WIDTH)
    for name in sorted(widths, key=lambda name: -columns[name].priority):
        if total <= width or not columns[name].priority:
            break
        dropped.append(name)
        total -= widths[name]
    return dropped


Row = dict[str, Any]
NOT_REACHED = "not reached"
ABSENT = "-"
WHOLE = {"seeds": "runs", "cells": "all_cells"}  # what ended well, and of how many


class TableError(BenchError):
    """A table that was asked for in a way there is none; the message says what there is."""


COLUMNS = {
    "architecture": Column(header="architecture"),
    "optimizer": Column(header="optimizer"),
    "augmentation": Column(header="augmentation"),
    "pipeline": Column(header="pipeline"),
    "cells": Column(header="cells", right=True),
    "seeds": Column(header="seeds", priority=1, right=True),
    "accuracy": Column(header="accuracy %", digits=2, factor=100, lower=False),
    "one_view_accuracy": Column(header="one view %", digits=2, factor=100, lower=False),
    "macro_f1": Column(header="macro F1 %", digits=2, factor=100, lower=False, priority=2),
    "images_per_s": Column(header="images/s", digits=0, lower=False),
    "stall_pct": Column(header="stall %", digits=1, priority=3),  # the least is mostly noise
    "bound_by": Column(header="bound by", priority=4),
    "time_to_accuracy_s": Column(header="time to accuracy s", digits=1, lower=True),
    "time_to_accuracy_with_compile_s": Column(
        header="with compile s", digits=1, lower=True, priority=4
    ),
    "train_s": Column(header="train s", digits=1, lower=True, priority=5),
    "reads": Column(header="reads"),
    "budget": Column(header="budget"),
    "notes": Column(header="notes"),
}


def shown(
    frame: pd.DataFrame, columns: Sequence[str] | None
) -> tuple[dict[str, list[str]], dict[str, set[int]]]:
    """The texts of each column, and the rows that are the best of it.

    Raises:
        TableError: An unknown column.
    """
    rows: list[Row] = frame.to_dict(orient="records")  # type: ignore[assignment]
    for row in rows:
        row["notes"] = _notes(row)
    known = {*frame.columns, "notes"}
    names = [name for name in COLUMNS if name in known] if columns is None else list(columns)
    for name in names:
        if name not in known:
            raise TableError(unknown_name("column", name, sorted(known)))
    if columns is None:
        empty = {name for name in ("budget", "notes") if not any(row[name] for row in rows)}
        if not any("files" in row["reads"] for row in rows):
            empty.add("reads")
        if not any(_has_more_views(row) for row in rows):
            empty.add("one_view_accuracy")
        names = [name for name in names if name not in empty]
    return (
        {name: [_text(name, row) for row in rows] for name in names},
        {name: _best(name, rows) for name in names},
    )


def _has_more_views(row: Row) -> bool:
    """Whether the accuracy is of more views than the image as it is."""
    one_view = row["one_view_accuracy"]
    return one_view is not None and not math.isnan(one_view) and one_view != row["accuracy"]


def _notes(row: Row) -> str:
    failed = (
        "" if row["status"] == "ok" else ": ".join(filter(None, (row["status"], row["reason"])))
    )
    suspect = f"timing suspect: {row['timing_suspect']}" if row["timing_suspect"] else ""
    return "; ".join(filter(None, (failed, suspect, row["draws"])))


def _text(name: str, row: Row) -> str:
    value = row[name]
    column = COLUMNS.get(name, Column(header=name))
    if name in WHOLE:
        whole = row[WHOLE[name]]
        return f"{value}/{whole}" if value != whole else str(value)
    if name.startswith("time_to_accuracy") and row["seeds"] and row["reached"] == 0:
        return NOT_REACHED
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ABSENT
    if column.digits is None:
        return str(value)
    text = f"{value * column.factor:.{column.digits}f}"
    sd = row.get(f"{name}_sd")
    if sd is not None and not math.isnan(sd):
        text += f" \u00b1 {sd * column.factor:.{column.digits}f}"
    if name.startswith("time_to_accuracy") and row["reached"] < row["seeds"]:
        text += f" ({row['reached']:.0f}/{row['seeds']} reached)"
    return text


def _best(name: str, rows: list[Row]) -> set[int]:
    """Rows with the best value; a suspect time or a target that a seed missed is never the best."""
    lower = COLUMNS[name].lower if name in COLUMNS else None
    if lower is None or len(rows) < 2:
        return set()
    timing = name not in ("accuracy", "one_view_accuracy", "macro_f1")
    values = {
        index: row[name]
        for index, row in enumerate(rows)
        if row["status"] == "ok"
        and not math.isnan(row[name] if row[name] is not None else math.nan)
        and not (timing and row["timing_suspect"])
        and not (name.startswith("time_to_accuracy") and row["reached"] < row["seeds"])
    }
    if not values:
        return set()
    top = min(values.values()) if lower else max(values.values())
    return {index for index, value in values.items() if value == top}


def laid_out(names: Iterable[str]) -> dict[str, Column]:
    """How to show columns; one that is not usually shown stands under its own name."""
    return {name: COLUMNS.get(name, Column(header=name)) for name in names}


LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u00b1": r"$\pm$",
} | {mark: f"\\{mark}" for mark in "&%$#_"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # begin one in a spreadsheet
_SPECIAL = re.compile("|".join(map(re.escape, LATEX)))


def csv(frame: "pd.DataFrame") -> str:
    """A table of figures and texts; none of them is taken for a formula by a spreadsheet."""
    safe = frame.apply(lambda column: column if column.dtype.kind in "iufb" else column.map(_safe))
    safe.columns = [_safe(name) for name in frame.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _safe(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(FORMULA) and len(value) > 1
    return f"'{value}" if is_formula else value


def html(
    title: str,
    notes: Sequence[str],
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
) -> str:
    """A `<table>` that stands by itself: no style sheet, every text escaped.

    Args:
        title: First line of the caption.
        notes: Its further lines.
        columns: How to show each column, in order.
        cells: Column to the texts of its rows.
        best: Column to the rows that are set in bold.
    """
    caption = "<br>\n".join(escape(line) for line in (title, *notes))
    lines = ["<table>", f"<caption>{caption}</caption>", "<thead>", "<tr>"]
    lines += [
        f'<th scope="col"{_aligned(column)}>{escape(column.header)}</th>'
        for column in columns.values()
    ]
    lines += ["</tr>", "</thead>", "<tbody>"]
    for index in range(_rows(cells)):
        lines.append("<tr>")
        for name, column in columns.items():
            text = escape(cells[name][index])
            marked = f"<strong>{text}</strong>" if index in best[name] else text
            lines.append(f"<td{_aligned(column)}>{marked}</td>")
        lines.append("</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"]) + "\n"


def _aligned(column: Column) -> str:
    return ' style="text-align: right"' if column.is_number else ""


def latex(
    title: str,
    notes: Sequence[str],
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
) -> str:
    """A `table` for a document that uses the package booktabs; arguments as in `html`."""
    aligned = "".join("r" if column.is_number else "l" for column in columns.values())
    rows = [
        " & ".join(
            f"\\textbf{{{escaped(cells[name][index])}}}"
            if index in best[name]
            else escaped(cells[name][index])
            for name in columns
        )
        for index in range(_rows(cells))
    ]
    head = " & ".join(escaped(column.header) for column in columns.values())
    caption = ". ".join(escaped(line) for line in (title, *notes))
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\begin{{tabular}}{{{aligned}}}",
        "\\toprule",
        f"{head} \\\\",
        "\\midrule",
        *(f"{row} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """The text as LaTeX sets it; a line break becomes a blank.

    A square bracket at the start of a cell would be an argument of the row's end before it.
    """
    plain = _SPECIAL.sub(lambda match: LATEX[match[0]], " ".join(text.split()))
    return f"{{{plain}}}" if plain.startswith(("[", "*")) else plain


def _rows(cells: Mapping[str, Sequence[str]]) -> int:
    return len(next(iter(cells.values()), []))


Form = Literal["rich", "md", "csv", "html", "latex", "json"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table.

    Args:
        title: Machine, scale, source and the budget that all rows share.
        notes: What else the reader must know, a sentence each.
        versions: Of the software, in one line; Markdown leaves it out.
        columns: How to show each column.
        cells: Texts by column.
        best: Rows, by column, that are set in bold.
        frame: The figures for CSV, missed targets in words.
        rows: The figures for JSON, missed targets null.
        keep: Whether a narrow terminal may drop no column.
    """

    title: str
    notes: tuple[str, ...] = ()
    versions: str = ""
    columns: Mapping[str, Column]
    cells: Mapping[str, list[str]]
    best: Mapping[str, set[int]]
    frame: pd.DataFrame
    rows: pd.DataFrame
    keep: bool = False

    @property
    def remarks(self) -> list[str]:
        """The lines under the title."""
        return [*self.notes, *([self.versions] if self.versions else [])]


def check_form(form: str) -> None:
    """Refuses a form that there is none of.

    Raises:
        TableError: It is unknown.
    """
    if form not in get_args(Form):
        raise TableError(unknown_name("table format", form, list(get_args(Form))))


def drawn(sheet: Sheet, form: Form, *, width: int | None = None, color: bool = False) -> str:
    """The sheet as text.

    Args:
        sheet: What to draw.
        form: "rich" for a terminal, or a document's.
        width: Characters that "rich" may use; None for as many as it takes.
        color: Whether "rich" may use bold and colours.

    Raises:
        TableError: An unknown form.
    """
    check_form(form)
    shown = (sheet.columns, sheet.cells, sheet.best)
    if form == "csv":
        return csv(sheet.frame)
    if form == "json":
        return json.dumps(as_json(sheet), indent=1) + "\n"
    if form == "md":
        return markdown(sheet.title, *shown, notes=sheet.notes)
    if form == "html":
        return html(sheet.title, sheet.remarks, *shown)
    if form == "latex":
        return latex(sheet.title, sheet.remarks, *shown)
    return as_terminal(
        sheet.title, *shown, notes=sheet.remarks, width=width, color=color, keep=sheet.keep
    )


def as_json(sheet: Sheet) -> dict[str, object]:
    """Title, notes, versions and rows, for machines."""
    rows = json.loads(sheet.rows.to_json(orient="records", double_precision=15))
    return {
        "title": sheet.title,
        "notes": list(sheet.notes),
        "versions": sheet.versions,
        "rows": rows,
    }
