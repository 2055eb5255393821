"""One table in any form: what stands in it, apart from how it is drawn."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from bench.report.columns import TableError
from bench.report.layout import Column, for_terminal, markdown
from bench.report.markup import csv, html, latex
from pipelines.catalog import unknown_name

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
    return for_terminal(
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
