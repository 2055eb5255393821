"""Renders tables for a terminal, as Markdown or as CSV."""

import math
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd
from tabulate import tabulate

from bench.errors import check_choice
from bench.report.columns import COLUMNS, Column, Metric, column_named

Form = Literal["rich", "md", "csv", "json"]
FORMS: tuple[Form, ...] = get_args(Form)
Row = dict[str, Any]
NOT_REACHED = "not reached"
SUSPECT = "suspect"  # shown instead of a suspect time
ABSENT = "-"
BOLD, DIM, BEST = "1", "2", "1;32"  # escape codes of a terminal; the best value is green
SEPARATOR = "  "  # between columns
NARROWEST = 10  # characters of a column, separator included, that is wrapped
NOTES_WIDTH = 16  # characters that a terminal keeps for notes; longer ones are wrapped
PARTS = re.compile(r"(\s+|(?<=_)|(?=\[))")  # where a line may be broken: "flip_", "kornia"
TOTALS = {"seeds": "runs", "cells": "all_cells"}  # "2/4": number of successes and total


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts."""

    title: str = ""
    columns: Mapping[str, Column]
    cells: Mapping[str, Sequence[str]]  # texts by column
    best: Mapping[str, Collection[int]] = field(default_factory=dict)  # bold rows
    notes: Sequence[str] = ()  # sentences
    keep: bool = False  # whether to wrap cells instead of dropping columns

    def markdown(self) -> str:
        """The table, after its title and notes."""
        texts = [
            [
                f"**{text}**" if index in self.best.get(name, ()) else as_markdown(text)
                for index, text in enumerate(self.cells[name])
            ]
            for name in self.columns
        ]
        headers = [as_markdown(column.header) for column in self.columns.values()]
        rows = list(zip(*texts, strict=True))
        table = pd.DataFrame(rows, columns=range(len(headers))).to_markdown(
            index=False,
            headers=headers,
            colalign=["right" if column.is_number else "left" for column in self.columns.values()],
            disable_numparse=True,
        )
        title, *notes = (as_markdown(text, in_cell=False) for text in (self.title, *self.notes))
        return "\n\n".join([f"### {title}", *notes, table]) + "\n"

    def terminal(self, *, width: int | None = None, color: bool = False) -> str:
        """The table between its title and notes, of any width if `width` is None."""
        widths = {
            name: max(map(len, [column.header, *self.cells[name]])) + len(SEPARATOR)
            for name, column in self.columns.items()
        }
        whole = {name: min(widths[name], NOTES_WIDTH) for name in self.columns}
        for name in (name for name in self.columns if name != "notes"):
            texts = [self.columns[name].header, *self.cells[name]]
            whole[name] = len(SEPARATOR) + max(len(part) for t in texts for part in PARTS.split(t))
        dropped = [] if self.keep or width is None else _dropped(self.columns, whole, width)
        shown = [name for name in self.columns if name not in dropped]
        limits = {name: widths[name] for name in shown}
        narrow = dict.fromkeys(shown, NARROWEST)  # breaks words, so names come last
        for least in (whole, whole | {"notes": NARROWEST}, narrow):
            while width and sum(limits.values()) - len(SEPARATOR) > width:
                if not (wide := [name for name in shown if limits[name] > least[name]]):
                    break
                limits[max(wide, key=limits.__getitem__)] -= 1

        def styled(text: str, style: str) -> str:
            return f"\x1b[{style}m{text}\x1b[0m" if color and text else text

        def cell(name: str, text: str, style: str) -> str:
            lines = _wrapper(limits[name] - len(SEPARATOR)).wrap(text)
            return "\n".join(styled(line, style) if style else line for line in lines)

        columns = [
            [
                cell(name, self.columns[name].header, BOLD),
                "-" * (limits[name] - len(SEPARATOR)),
                *(
                    cell(name, text, BEST if index in self.best.get(name, ()) else "")
                    for index, text in enumerate(self.cells[name])
                ),
            ]
            for name in shown
        ]
        table = tabulate(
            list(zip(*columns, strict=True)),
            colalign=["right" if self.columns[name].is_number else "left" for name in shown],
            tablefmt="plain",
            disable_numparse=True,
        )
        notes = list(self.notes)
        if dropped:
            left_out = ", ".join(self.columns[name].header for name in dropped)
            notes.append(f"columns left out for width: {left_out}")
        above = [styled(line, BOLD) for line in wrapped(self.title, width)]
        below = [styled(line, DIM) for note in notes for line in wrapped(note, width)]
        return "\n".join([*above, *([""] if above else []), table, "", *below]).rstrip() + "\n"


def _wrapper(width: int) -> textwrap.TextWrapper:
    wrapper = textwrap.TextWrapper(width)
    wrapper.wordsep_re = PARTS
    return wrapper


def wrapped(text: str, width: int | None) -> list[str]:
    """The lines of a text for a terminal; one line if `width` is None."""
    return textwrap.wrap(text, width or max(1, len(text)))


def as_markdown(text: str, *, in_cell: bool = True) -> str:
    """The text on one line, with HTML, links and cell separators escaped."""
    plain = " ".join(text.split()).replace("<", "&lt;").replace("](", "]\\(")
    return plain.replace("|", "\\|") if in_cell else plain


def _dropped(columns: Mapping[str, Column], widths: Mapping[str, int], width: int) -> list[str]:
    """The columns to drop so that the rest fits, the least important first."""
    dropped: list[str] = []
    total = sum(widths.values())
    for name in sorted(widths, key=lambda name: -columns[name].priority):
        if total <= width or not columns[name].priority:
            break
        dropped.append(name)
        total -= widths[name]
    return dropped


def csv(frame: pd.DataFrame) -> str:
    """A table as CSV; texts that a spreadsheet would take for formulas are escaped."""
    safe = frame.apply(lambda column: column if column.dtype.kind in "iufb" else column.map(_safe))
    safe.columns = [_safe(name) for name in frame.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _safe(value: Any) -> Any:
    starts = ("=", "+", "-", "@", "\t", "\r")
    is_formula = isinstance(value, str) and value.startswith(starts) and len(value) > 1
    return f"'{value}" if is_formula else value


def shown(
    frame: pd.DataFrame, columns: Sequence[str] | None
) -> tuple[dict[str, list[str]], dict[str, set[int]]]:
    """The texts of each column of a matrix, and the rows with its best value.

    Args:
        frame: A matrix, or means over its cells.
        columns: Names; by default the usual columns without uninformative ones.

    Raises:
        UsageError: An unknown column.
    """
    rows: list[Row] = frame.to_dict(orient="records")  # type: ignore[assignment]
    for row in rows:
        row["notes"] = _notes(row)
    known = {*frame.columns, "notes"}
    names = [name for name in COLUMNS if name in known] if columns is None else list(columns)
    for name in names:
        check_choice("column", name, sorted(known))
    if columns is None:
        empty = {name for name in ("budget", "notes") if not any(row[name] for row in rows)}
        if not any("files" in row["reads"] for row in rows):
            empty.add("reads")
        if not any(_has_more_views(row) for row in rows):
            empty.add("one_view_accuracy")
        measured = ("memory_gib", "energy_j")
        empty |= {name for name in measured if all(is_missing(row[name]) for row in rows)}
        names = [name for name in names if name not in empty]
    return (
        {name: [_text(name, row) for row in rows] for name in names},
        {name: _best(name, rows) for name in names},
    )


def columns_of(names: Iterable[str]) -> dict[str, Column]:
    """How to show the columns of a matrix."""
    return {name: column_named(name) for name in names}


def is_missing(value: object) -> bool:
    """Whether a cell of a matrix is empty."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _has_more_views(row: Row) -> bool:
    """Whether the accuracy is an average over several views of each image."""
    one_view = row["one_view_accuracy"]
    return not is_missing(one_view) and one_view != row["accuracy"]


def _notes(row: Row) -> str:
    failed = "" if row["status"] == "ok" else row["status"]
    if failed and row["reason"]:
        failed += f": {row['reason']}"
    suspect = ""
    if row["timing_suspect"]:
        part = f" in {row['seeds'] - row['trusted']} of {row['seeds']} runs"
        suspect = f"timing suspect{part * (row['seeds'] > 1)}: {row['timing_suspect']}"
    return "; ".join(filter(None, (failed, suspect, row["draws"])))


def _text(name: str, row: Row) -> str:
    value, column = row[name], column_named(name)
    to_target = isinstance(column, Metric) and column.to_target
    if name in TOTALS:
        total = row[TOTALS[name]]
        return f"{value}/{total}" if value != total else str(value)
    if to_target and row["seeds"] and row["reached"] == 0:
        return NOT_REACHED
    if is_missing(value):
        timing = isinstance(column, Metric) and column.timing
        suspect = timing and row["trusted"] < row["seeds"]
        return SUSPECT if suspect else ABSENT
    if column.digits is None:
        return str(value)
    text = f"{value * column.factor:.{column.digits}f}"
    sd = row.get(f"{name}_sd")
    if sd is not None and not math.isnan(sd):
        text += f" \u00b1 {sd * column.factor:.{column.digits}f}"
    if to_target and row["reached"] < row["seeds"]:
        text += f" ({row['reached']:.0f}/{row['seeds']} reached)"
    return text


def _best(name: str, rows: list[Row]) -> set[int]:
    """Rows with the best value; those with a missed target never have it."""
    column = column_named(name)
    if column.best is None or len(rows) < 2:
        return set()
    values = {
        index: row[name]
        for index, row in enumerate(rows)
        if row["status"] == "ok"
        and not is_missing(row[name])
        and not (isinstance(column, Metric) and column.to_target and row["reached"] < row["seeds"])
    }
    if not values:
        return set()
    top = min(values.values()) if column.best == "lowest" else max(values.values())
    return {index for index, value in values.items() if value == top}
