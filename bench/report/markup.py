"""Tables for other documents: CSV, an HTML fragment, and LaTeX with booktabs."""

import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from bench.report.layout import Column

if TYPE_CHECKING:
    import pandas as pd

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


__all__ = ["csv", "escaped", "html", "latex"]
