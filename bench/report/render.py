"""Renders tables for a terminal, as Markdown or as CSV."""

import math
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, product, zip_longest
from string import ascii_lowercase
from typing import Any, Literal, get_args

import pandas as pd

from bench.errors import check_choice
from bench.report.columns import COLUMNS, Column, Metric, column_named
from bench.report.rows import merged
from bench.text import wrapped

Form = Literal["rich", "md", "csv", "json"]
FORMS: tuple[Form, ...] = get_args(Form)
Row = dict[str, Any]
NOT_REACHED = "not reached"
SUSPECT = "suspect"  # shown instead of a suspect time
ABSENT = "-"
BRIEF = (  # how narrow terminals shorten metrics: pattern, replacement, mark and its meaning
    (r" \u00b1 [\d.]+", "", "\u00b1", "deviations over seeds are left out for width"),
    (f"^{NOT_REACHED}$", "never", "never", "the target was not reached"),
    (f"^{SUSPECT}$", "*", "*", "left out, as its timing is suspect"),
    (r" reached\)$", ")", "(2/3)", "2 of 3 runs reached the target"),
)
BOLD, DIM, BEST, WORSE = "1", "2", "1;32", "31"  # escape codes of a terminal: green, red
NARROWEST = 8  # characters of a wrapped column
TOTALS = {"seeds": "runs", "cells": "all_cells"}  # "2/4": number of successes and total


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts."""

    title: str = ""
    head: Sequence[str] = ()  # lines below the title
    columns: Mapping[str, Column]
    cells: Mapping[str, Sequence[str]]  # texts by column
    best: Mapping[str, Collection[int]] = field(default_factory=dict)  # bold rows
    worse: Mapping[str, Collection[int]] = field(default_factory=dict)  # red rows
    notes: Sequence[str] = ()  # sentences
    names: Sequence[str] = ()  # columns that a narrow terminal joins: "cnn4/sgd/none/kornia"
    joined: Sequence[str] = ()  # the joined texts if they say more: "cnn4/sgd (25 epochs)"
    footnotes: Mapping[str, str] = field(default_factory=dict)  # by mark
    gap: str = "  "

    def markdown(self) -> str:
        """The table, after its title and notes."""
        texts = [
            [
                f"**{text}**" if index in self.best.get(name, ()) else as_markdown(text)
                for index, text in enumerate(self.cells[name])
            ]
            for name in self.columns
        ]
        columns = self.columns.values()
        table = pd.DataFrame(zip(*texts, strict=True), columns=range(len(columns))).to_markdown(
            index=False,
            headers=[as_markdown(column.header) for column in columns],
            colalign=["right" if column.is_number else "left" for column in columns],
            disable_numparse=True,
        )
        title, *notes = (as_markdown(text, in_cell=False) for text in (self.title, *self.notes))
        head = "\n".join(f"- {as_markdown(text, in_cell=False)}" for text in self.head)
        return "\n\n".join([f"### {title}", *filter(None, [head]), *notes, table]) + "\n"

    def terminal(self, *, width: int | None = None, color: bool = False) -> str:
        """The table between its title and notes, of any width if `width` is None.

        If it is too wide, unimportant columns are dropped. If that is not enough, numbers and
        headers are shortened and names joined, and the last columns go below. Names are not broken.
        """
        table = self._fitted(width)
        marked = [
            wrapped(f"{mark}: {text}", width, " " * (len(mark) + 2))
            for mark, text in table.footnotes.items()
        ]
        notes = [*marked, *(wrapped(note, width) for note in table.notes)]
        blocks = [
            styled(wrapped(table.title, width), BOLD, color),
            "\n".join(table.head),
            *("\n".join(part._lines(width, color)) for part in table._parts(width)),
            styled("\n".join(notes), DIM, color),
        ]
        return "\n\n".join(filter(None, blocks)) + "\n"

    def _fitted(self, width: int | None) -> "Table":
        """The table with fewer columns and shorter texts if it is too wide."""
        table = self._marked("always")
        if width is None:
            return table
        table = table._dropped(width, keep=1)
        return table if table._least(width) <= width else self._short()._dropped(width)

    def _marked(self, *kinds: str) -> "Table":
        """The table with marks instead of long texts, which become footnotes."""
        names = [name for name, column in self.columns.items() if column.footnote in kinds]
        parts = {name: [text.split("; ") for text in self.cells[name]] for name in names}
        alike: dict[str, str] = {}
        for name, rows in parts.items():
            texts = {text: text for text in chain.from_iterable(rows) if text}
            alike |= merged(texts) if self.columns[name].footnote == "always" else texts
        found = [
            dict.fromkeys(alike[text] for text in chain(*row) if text)
            for row in zip(*parts.values(), strict=True)
        ]
        letters = ("".join(word) for n in count(1) for word in product(ascii_lowercase, repeat=n))
        marks = dict(zip(dict.fromkeys(chain.from_iterable(found)), letters, strict=False))
        columns = {name: column for name, column in self.columns.items() if name not in names}
        if marks:
            columns["marks"] = Column(header="")
        cells = {**self.cells, "marks": [",".join(map(marks.__getitem__, row)) for row in found]}
        footnotes = {**self.footnotes, **{mark: text for text, mark in marks.items()}}
        return replace(self, columns=columns, cells=cells, footnotes=footnotes)

    def _short(self) -> "Table":
        """The table with shorter headers and values, one column of names and more footnotes."""
        columns, cells, footnotes = dict(self.columns), dict(self.cells), dict(self.footnotes)
        for name, column in self.columns.items():
            if isinstance(column, Metric):
                columns[name] = replace(column, header=column.short or column.header)
                for pattern, by, mark, meaning in BRIEF:
                    shorter = [re.sub(pattern, by, text) for text in cells[name]]
                    if shorter != cells[name]:
                        cells[name], footnotes[mark] = shorter, meaning
        if len(self.names) > 1:
            names = (cells[name] for name in self.names)
            cells["cell"] = self.joined or ["/".join(row) for row in zip(*names, strict=True)]
            rest = {name: column for name, column in columns.items() if name not in self.names}
            columns = {"cell": Column(header="cell"), **rest}
        gap = " " if self.names else self.gap
        table = replace(self, columns=columns, cells=cells, footnotes=footnotes, gap=gap)
        return table._marked("always", "narrow")

    def _dropped(self, width: int, keep: int = 0) -> "Table":
        """Without the least important columns that do not fit; priorities up to `keep` stay."""
        columns, headers = dict(self.columns), []
        for name in sorted(columns, key=lambda name: -columns[name].priority):
            priority = columns[name].priority
            most = width if priority > 1 else self._share(width)
            if replace(self, columns=columns)._least(most) <= width or priority <= keep:
                break
            headers.append(columns.pop(name).header)
        left_out = [f"columns left out for width: {', '.join(headers)}"] * bool(headers)
        return replace(self, columns=columns, notes=[*self.notes, *left_out])

    def _parts(self, width: int | None) -> list["Table"]:
        """Tables that fit the width, each with the first column and the marks."""
        first, *names = [name for name in self.columns if name != "marks"] or ["marks"]

        def part(names: Sequence[str]) -> "Table":
            kept = {name: self.columns[name] for name in (*names, "marks") if name in self.columns}
            return replace(self, columns=kept)

        parts = [[first]]
        for name in names:
            wider = [*parts[-1], name]
            fits = width is None or part(wider)._least(self._share(width)) <= width
            parts[-1:] = [wider] if fits or len(wider) == 2 else [parts[-1], [first, name]]
        return [part(names) for names in parts]

    def _share(self, width: int) -> int:
        """The width that the first column keeps before the last columns move below it."""
        return width // (3 if self.names else 2)

    def _words(self) -> dict[str, int]:
        """The least width of each column that breaks neither cells nor words of headers."""
        return {
            name: max(map(len, [*column.header.split(), *self.cells[name]]), default=0)
            for name, column in self.columns.items()
        }

    def _least(self, most: int) -> int:
        """The least width without broken cells, if the first column has at most `most` of it."""
        first, *others = self._words().values()
        return min(first, most) + sum(others) + len(self.gap) * len(others)

    def _widths(self, width: int | None) -> dict[str, int]:
        """The width of each column; if it is short, headers wrap, then the first column's cells."""
        words = self._words()
        widths = {name: max(len(c.header), words[name]) for name, c in self.columns.items()}
        if width is None:
            return widths
        room = width - len(self.gap) * (len(widths) - 1)
        first, widest = next(iter(words)), max(words, key=words.__getitem__)
        headers = sorted(words.items(), key=lambda item: item[1] - widths[item[0]])
        share = min(words[first], max(NARROWEST, self._share(room)))
        for name, least in [*headers, (first, share), (widest, NARROWEST)]:
            over = max(0, sum(widths.values()) - room)
            widths[name] = min(widths[name], max(least, widths[name] - over))
        return widths

    def _lines(self, width: int | None, color: bool) -> Iterator[str]:
        """Headers and rows; a name that is too long for its column is on a line of its own."""
        widths = self._widths(width)
        first = next(iter(widths))

        def row(texts: Mapping[str, str], styles: Mapping[str, str]) -> Iterator[str]:
            cells = [textwrap.wrap(texts[name], size or 1) for name, size in widths.items()]
            for parts in zip_longest(*cells, fillvalue=""):
                line = []
                for (name, size), part in zip(widths.items(), parts, strict=True):
                    space = " " * (size - len(part))
                    text = styled(part, styles.get(name), color)
                    line.append(space + text if self.columns[name].is_number else text + space)
                yield self.gap.join(line).rstrip()

        headers = {name: column.header for name, column in self.columns.items()}
        yield from row(headers, dict.fromkeys(headers, BOLD))
        yield self.gap.join("-" * size for size in widths.values())
        for index in range(len(self.cells[first])):
            texts = {name: self.cells[name][index] for name in widths}
            styles = {name: WORSE for name in widths if index in self.worse.get(name, ())}
            styles |= {name: BEST for name in widths if index in self.best.get(name, ())}
            if len(texts[first]) > widths[first]:
                yield from textwrap.wrap(texts[first], width or len(texts[first]))
                texts[first] = ""
            yield from row(texts, styles)


def styled(text: str, style: str | None, color: bool) -> str:
    """The text in a style, an escape code of the terminal; unchanged without colours."""
    if not (color and text and style):
        return text
    return "\n".join(f"\x1b[{style}m{line}\x1b[0m" for line in text.split("\n"))


def as_markdown(text: str, *, in_cell: bool = True) -> str:
    """The text on one line, with HTML, links and cell separators escaped."""
    plain = " ".join(text.split()).replace("<", "&lt;").replace("](", "]\\(")
    return plain.replace("|", "\\|") if in_cell else plain


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
    names = [name for name in COLUMNS if name in known and _informs(name, rows)]
    names = names if columns is None else list(columns)
    for name in names:
        check_choice("column", name, sorted(known))
    return (
        {name: [_text(name, row, rows) for row in rows] for name in names},
        {name: _best(name, rows) for name in names},
    )


def is_missing(value: object) -> bool:
    """Whether a cell of a matrix is empty."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _informs(name: str, rows: Iterable[Row]) -> bool:
    """Whether a column is shown by default: some say nothing in most tables."""
    if name == "reads":
        return any("files" in row["reads"] for row in rows)
    if name == "one_view_accuracy":
        return any(not is_missing(row[name]) and row[name] != row["accuracy"] for row in rows)
    optional = name in ("budget", "notes", "memory_gib", "energy_j")
    return not optional or any(not is_missing(row[name] or None) for row in rows)


def _notes(row: Row) -> str:
    failed = "" if row["status"] == "ok" else row["status"]
    if failed and row["reason"]:
        failed += f": {row['reason'].replace('; ', ', ')}"
    suspect = row["timing_suspect"].replace("; ", ", ")
    if suspect:
        part = f" in {row['seeds'] - row['trusted']} of {row['seeds']} runs"
        suspect = f"timing suspect{part * (row['seeds'] > 1)}: {suspect}"
    return "; ".join(filter(None, (failed, suspect, row["draws"], row["differs"])))


def _text(name: str, row: Row, rows: Sequence[Row]) -> str:
    value, column = row[name], column_named(name)
    to_target = isinstance(column, Metric) and column.to_target
    if name in TOTALS:
        total = row[TOTALS[name]]
        return f"{value}/{total}" if value != total else str(value)
    if to_target and row["seeds"] and row["reached"] == 0:
        return NOT_REACHED
    if is_missing(value):
        timing = isinstance(column, Metric) and column.timing
        measured = column.kind != "energy" or not all(is_missing(one[name]) for one in rows)
        suspect = timing and measured and row["trusted"] < row["seeds"]
        return SUSPECT if suspect else ABSENT
    if column.digits is None:
        return str(value)
    decimals = column.decimals(value * column.factor)
    text = f"{value * column.factor:.{decimals}f}"
    sd = row.get(f"{name}_sd", math.nan)
    if not is_missing(sd):
        text += f" \u00b1 {sd * column.factor:.{decimals}f}"
    if to_target and row["reached"] < row["seeds"]:
        text += f" ({row['reached']:.0f}/{row['seeds']} reached)"
    elif row["trusted"] < row["seeds"] and is_partial(column, row):
        text += f" ({row['trusted']} of {row['seeds']})"
    return text


def is_partial(column: Column, row: Mapping[Any, Any]) -> bool:
    """Whether a mean over cells, or a time to the target, is not over all runs."""
    if not isinstance(column, Metric):
        return False
    missed = column.to_target and row["reached"] is not None and row["reached"] < row["seeds"]
    used = row["trusted" if column.timing else "seeds"]
    return bool(missed or (row.get("all_cells", 1) > 1 and used < row["runs"]))


def _best(name: str, rows: list[Row]) -> set[int]:
    """Rows with the best value; those with a missed target or other ops never have it."""
    column = column_named(name)
    if column.best is None or len(rows) < 2:
        return set()
    values = {
        index: row[name]
        for index, row in enumerate(rows)
        if row["status"] == "ok"
        and not (is_missing(row[name]) or is_partial(column, row))
        and not row["differs"]
    }
    top = (min if column.best == "lowest" else max)(values.values(), default=None)
    return {index for index, value in values.items() if value == top}
