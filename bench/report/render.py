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
NARROWEST = 8  # characters of a wrapped column or a shortened name
PARTS = re.compile(r"(\s+|(?<=_)|(?=\[))")  # where a cell may be broken: "flip_", "kornia"
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
    keep: bool = False  # whether to wrap cells instead of dropping columns
    split: bool = False  # whether columns that do not fit go below, after the first column again
    names: Sequence[str] = ()  # columns that a narrow terminal joins: "cnn4/sgd/none/kornia"
    footnotes: Mapping[str, str] = field(default_factory=dict)  # by mark

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
        table = pd.DataFrame(zip(*texts, strict=True), columns=range(len(headers))).to_markdown(
            index=False,
            headers=headers,
            colalign=["right" if column.is_number else "left" for column in self.columns.values()],
            disable_numparse=True,
        )
        title, *notes = (as_markdown(text, in_cell=False) for text in (self.title, *self.notes))
        head = "\n".join(f"- {as_markdown(text, in_cell=False)}" for text in self.head)
        return "\n\n".join([f"### {title}", *filter(None, [head]), *notes, table]) + "\n"

    def terminal(self, *, width: int | None = None, color: bool = False) -> str:
        """The table between its title and notes, of any width if `width` is None.

        A row is one line, unless columns that must stay are wider than the terminal.
        """
        if self.split and width:
            return "\n".join(part.terminal(width=width, color=color) for part in self._parts(width))
        table, gap = self._fitted(width)
        widths = table._widths(gap, width)

        def row(texts: Mapping[str, str], styles: Mapping[str, str]) -> Iterator[str]:
            cells = [_wrapper(widths[name]).wrap(texts[name]) for name in widths]
            for parts in zip_longest(*cells, fillvalue=""):
                line = ""
                for (name, width), part in zip(widths.items(), parts, strict=True):
                    text, space = styled(part, styles.get(name), color), " " * (width - len(part))
                    line += (space + text if table.columns[name].is_number else text + space) + gap
                yield line.rstrip()

        headers = {name: column.header for name, column in table.columns.items()}
        marked = [(text, f"{mark}: ") for mark, text in table.footnotes.items()]
        drawn = [styled(line, BOLD, color) for line in wrapped(table.title, width)]
        drawn += ["", *table.head] if table.head else []
        drawn += [""] if drawn else []
        drawn += [*row(headers, dict.fromkeys(headers, BOLD))]
        drawn.append(gap.join("-" * width for width in widths.values()))
        for index in range(max(map(len, table.cells.values()), default=0)):
            styles = {name: WORSE for name in widths if index in table.worse.get(name, ())}
            styles |= {name: BEST for name in widths if index in table.best.get(name, ())}
            drawn += row({name: table.cells[name][index] for name in widths}, styles)
        drawn.append("")
        for note, mark in (*marked, *((note, "") for note in table.notes)):
            drawn += (styled(line, DIM, color) for line in wrapped(note, width, mark))
        return "\n".join(drawn).rstrip() + "\n"

    def _parts(self, width: int) -> list["Table"]:
        """Tables that fit the width, each with the first column."""
        first, *names = self.columns
        parts = [replace(self, columns={first: self.columns[first]}, keep=True, split=False)]
        for name in names:
            more = {name: self.columns[name]}
            wider = replace(parts[-1], columns={**parts[-1].columns, **more})
            if wider._total("  ") <= width or len(parts[-1].columns) == 1:
                parts[-1] = wider
            else:
                columns = {first: self.columns[first], **more}
                parts.append(replace(parts[0], title="", head=(), columns=columns))
        return [*(replace(part, notes=()) for part in parts[:-1]), parts[-1]]

    def _fitted(self, width: int | None) -> tuple["Table", str]:
        """The table as it fits the terminal, and the gap between its columns."""
        table, gap = self._marked("always"), "  "
        if width is None:
            return table, gap
        for table, gap in self._narrower():
            table = table if self.keep else table._dropped(gap, width)
            if table._total(gap) <= width:
                break
        return table, gap

    def _narrower(self) -> Iterator[tuple["Table", str]]:
        """The table; then with shorter numbers, joined names, and shorter names."""
        yield self._marked("always"), "  "
        brief = self._brief()
        for table in (brief, brief._joined()):
            yield from ((table._marked("always", "narrow"), gap) for gap in ("  ", " "))
        names = {text for name in self.names for text in self.cells[name]}
        for longest in range(max(map(len, names), default=0) - 1, NARROWEST - 1, -1):
            yield brief._renamed(longest)._joined()._marked("always", "narrow"), " "

    def _marked(self, *kinds: str) -> "Table":
        """The table with marks instead of long texts, which become footnotes."""
        names = [name for name, column in self.columns.items() if column.footnote in kinds]
        parts = {name: [text.split("; ") for text in self.cells[name]] for name in names}
        alike: dict[str, str] = {}
        for name, rows in parts.items():
            texts = dict.fromkeys(chain.from_iterable(rows))
            always = self.columns[name].footnote == "always"
            alike |= merged(texts) if always else {text: text for text in texts}
        found = [
            [alike[text] for text in chain(*row) if text]
            for row in zip(*parts.values(), strict=True)
        ]
        letters = ("".join(word) for n in count(1) for word in product(ascii_lowercase, repeat=n))
        marks = dict(zip(dict.fromkeys(chain.from_iterable(found)), letters, strict=False))
        kept = {name: column for name, column in self.columns.items() if name not in names}
        if marks:
            kept["marks"] = Column(header="")
        cells = {"marks": [",".join(dict.fromkeys(marks[text] for text in row)) for row in found]}
        footnotes = dict(self.footnotes) | {mark: text for text, mark in marks.items()}
        return replace(self, columns=kept, cells={**self.cells, **cells}, footnotes=footnotes)

    def _joined(self) -> "Table":
        """The table with one column of names."""
        if len(self.names) < 2:
            return self
        texts = zip(*(self.cells[name] for name in self.names), strict=True)
        cells = {"cell": [*map("/".join, texts)]}
        rest = {name: column for name, column in self.columns.items() if name not in self.names}
        columns = {"cell": Column(header="cell")} | rest
        return replace(self, columns=columns, cells={**self.cells, **cells})

    def _brief(self) -> "Table":
        """The table with shorter headers and values of metrics."""
        columns, cells, footnotes = dict(self.columns), dict(self.cells), dict(self.footnotes)
        for name, column in self.columns.items():
            if isinstance(column, Metric):
                columns[name] = replace(column, header=column.short or column.header)
                for pattern, by, mark, meaning in BRIEF:
                    shorter = [re.sub(pattern, by, text) for text in cells[name]]
                    if shorter != cells[name]:
                        cells[name], footnotes[mark] = shorter, meaning
        return replace(self, columns=columns, cells=cells, footnotes=footnotes)

    def _renamed(self, longest: int) -> "Table":
        """The table with names of at most `longest` characters."""
        long = sorted({t for name in self.names for t in self.cells[name] if len(t) > longest})
        end = longest // 3
        short = {text: f"{text[: longest - 1 - end]}\u2026{text[-end:]}" for text in long}
        if len({*short.values()}) < len(long):
            numbered = enumerate(long, start=1)
            short = {text: f"{text[: longest - 1 - len(str(n))]}\u2026{n}" for n, text in numbered}
        cells = {name: [short.get(t, t) for t in self.cells[name]] for name in self.names}
        footnotes = {**self.footnotes, **{mark: text for text, mark in short.items()}}
        return replace(self, cells={**self.cells, **cells}, footnotes=footnotes)

    def _dropped(self, gap: str, width: int) -> "Table":
        """The table without the least important columns that do not fit."""
        table, headers = self, []
        for name in sorted(self.columns, key=lambda name: -self.columns[name].priority):
            if table._total(gap) <= width or not self.columns[name].priority:
                break
            rest = {other: column for other, column in table.columns.items() if other != name}
            table = replace(table, columns=rest)
            headers.append(self.columns[name].header)
        left_out = f"columns left out for width: {', '.join(headers)}"
        return replace(table, notes=[*self.notes, left_out]) if headers else self

    def _least(self) -> dict[str, int]:
        """The widths with whole cells and words of headers."""
        return {
            name: max(map(len, [*column.header.split(), *self.cells[name]]), default=0)
            for name, column in self.columns.items()
        }

    def _total(self, gap: str) -> int:
        """The least width without wrapped cells."""
        return sum(self._least().values()) + len(gap) * (len(self.columns) - 1)

    def _widths(self, gap: str, width: int | None) -> dict[str, int]:
        """The width of each column; headers and cells are wrapped where the terminal is narrow."""
        texts = {name: [c.header, *self.cells[name]] for name, c in self.columns.items()}
        widths = {name: max(map(len, texts[name])) for name in texts}
        room = math.inf if width is None else width - len(gap) * (len(widths) - 1)
        parts = {name: max(len(p) for t in texts[name] for p in PARTS.split(t)) for name in texts}
        for least in (self._least(), parts, dict.fromkeys(texts, NARROWEST)):
            wide = [name for name in texts if widths[name] > least[name]]
            while wide and sum(widths.values()) > room:
                widths[max(wide, key=widths.__getitem__)] -= 1
                wide = [name for name in wide if widths[name] > least[name]]
        return widths


def styled(text: str, style: str | None, color: bool) -> str:
    """The text between the escape codes of a style, if the terminal has colours."""
    return f"\x1b[{style}m{text}\x1b[0m" if color and text and style else text


def _wrapper(width: int) -> textwrap.TextWrapper:
    wrapper = textwrap.TextWrapper(max(1, width))
    wrapper.wordsep_re = PARTS
    return wrapper


def wrapped(text: str, width: int | None, mark: str = "") -> list[str]:
    """The lines of a text for a terminal, after a mark; one line if `width` is None."""
    return textwrap.wrap(
        text,
        width or max(1, len(mark + text)),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


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
    names = [name for name in COLUMNS if name in known] if columns is None else list(columns)
    for name in names:
        check_choice("column", name, sorted(known))
    if columns is None:
        optional = ("budget", "notes", "memory_gib", "energy_j")
        empty = {n: all(is_missing(row[n] or None) for row in rows) for n in optional}
        empty["reads"] = not any("files" in row["reads"] for row in rows)
        empty["one_view_accuracy"] = not any(_has_more_views(row) for row in rows)
        names = [name for name in names if not empty.get(name)]
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
        failed += f": {row['reason'].replace('; ', ', ')}"
    suspect = ""
    if row["timing_suspect"]:
        part = f" in {row['seeds'] - row['trusted']} of {row['seeds']} runs"
        reasons = row["timing_suspect"].replace("; ", ", ")
        suspect = f"timing suspect{part * (row['seeds'] > 1)}: {reasons}"
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
    elif _is_partial(column, row):
        text += f" ({row['trusted']} of {row['seeds']})"
    return text


def _is_partial(column: Column, row: Row) -> bool:
    """Whether a mean over cells, or a time to the target, lacks some of the runs."""
    if not isinstance(column, Metric) or not column.timing:
        return False
    missed = column.to_target and row["reached"] < row["seeds"]
    return bool(missed or (row.get("all_cells", 1) > 1 and row["trusted"] < row["seeds"]))


def _best(name: str, rows: list[Row]) -> set[int]:
    """Rows with the best value; those with a missed target never have it."""
    column = column_named(name)
    if column.best is None or len(rows) < 2:
        return set()
    values = {
        index: row[name]
        for index, row in enumerate(rows)
        if row["status"] == "ok" and not is_missing(row[name]) and not _is_partial(column, row)
    }
    top = (min if column.best == "lowest" else max)(values.values(), default=None)
    return {index for index, value in values.items() if value == top}
