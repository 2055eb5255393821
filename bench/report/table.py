"""`bench table`: the matrix of each group, means over some axes, or a pivot table, as text.

Only comparable cells are averaged: images, budget, precision, target, machine and torch version are
the same within a table. Batch size, width and recipe may differ, which a note says.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import pandas as pd

from bench.cell import AXES
from bench.errors import UsageError, check_choice
from bench.record import Record, RecordSummary, RecordT
from bench.report.columns import COLUMNS, METRICS, TIME, Column, Metric
from bench.report.matrix import (
    GROUP,
    METRIC_COLUMNS,
    Matrix,
    build,
    cautions,
    retarget,
    sort,
    suspects,
    versions,
)
from bench.report.render import (
    ABSENT,
    FORMS,
    NOT_REACHED,
    Form,
    Table,
    columns_of,
    csv,
    is_missing,
    shown,
)
from bench.report.rows import Key, bound_by, grouped
from bench.selection import matching
from bench.store.files import StoreError
from bench.store.groups import groups
from bench.store.store import Store
from bench.text import Log

MAX_NAMES = 4  # reasons and differences to list before counting the rest


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """One row per combination of these axes, averaged over the others."""

    axes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """One metric by a row and a column axis, by default the first two that differ."""

    metric: str = "accuracy"
    axes: tuple[str, str] | None = None


Shape = Grouping | Pivot | None  # None for a row per cell


def shape(*, group: Sequence[str] | None, metric: str | None, pivot: Sequence[str] | None) -> Shape:
    """The requested shape.

    Raises:
        UsageError: An unknown axis or metric, or two shapes at once.
    """
    if group is not None and (metric is not None or pivot is not None):
        raise UsageError("--group and a pivot table (--metric, --pivot) exclude each other")
    for name in [*(group or ()), *(pivot or ())]:
        check_choice("axis", name, list(AXES))
    if group is not None:
        return Grouping(axes=tuple(axis for axis in AXES if axis in group))
    if metric is None and pivot is None:
        return None
    if metric is not None:
        check_choice("metric", metric, list(METRICS))
    if pivot is not None and len(set(pivot)) != 2:
        raise UsageError(f"--pivot takes two axes, ROW,COLUMN, got {','.join(pivot)!r}")
    axes = None if pivot is None else (pivot[0], pivot[1])
    return Pivot(metric=metric or "accuracy", axes=axes)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table before it is drawn."""

    title: str
    frame: pd.DataFrame
    notes: Sequence[str] = ()
    versions: str = ""
    columns: Sequence[str] | None = None  # None for the default columns
    pivot: Table | None = None  # the texts of a pivot table

    def numbers(self) -> pd.DataFrame:
        """The selected columns of the frame."""
        for name in self.columns or ():
            check_choice("column", name, list(self.frame.columns))
        return self.frame if self.columns is None else self.frame[list(self.columns)]

    def csv_frame(self) -> pd.DataFrame:
        """The numbers for CSV, with a missed target as text."""
        plain = self.numbers()
        times = [name for name in plain.columns if name in METRICS and METRICS[name].to_target]
        if not times or self.pivot is not None:
            return plain
        plain = plain.astype(dict.fromkeys(times, object))
        missed = (self.frame["reached"] == 0) & (self.frame["seeds"] > 0)
        plain.loc[missed, times] = NOT_REACHED
        return plain

    def as_json(self) -> dict[str, object]:
        """Title, notes, versions and rows; a missed target is null."""
        rows = json.loads(self.numbers().to_json(orient="records", double_precision=15))
        notes = list(self.notes)
        return {"title": self.title, "notes": notes, "versions": self.versions, "rows": rows}

    def table(self, *notes: str) -> Table:
        """The texts, with additional notes."""
        notes = (*self.notes, *notes)
        if self.pivot is not None:
            return replace(self.pivot, title=self.title, notes=notes)
        cells, best = shown(self.frame, self.columns)
        keep, columns = self.columns is not None, columns_of(cells)
        return Table(
            title=self.title, columns=columns, cells=cells, best=best, notes=notes, keep=keep
        )


def _drawn(sheets: Sequence[Sheet], form: Form, *, width: int | None, color: bool) -> str:
    if form == "csv":
        return csv(pd.concat([sheet.csv_frame() for sheet in sheets], ignore_index=True))
    if form == "md":
        return "\n".join(sheet.table().markdown() for sheet in sheets)
    return "\n".join(
        sheet.table(*filter(None, [sheet.versions])).terminal(width=width, color=color)
        for sheet in sheets
    )


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
        sort_by: A column of the frame, best first; by default time to accuracy.
        columns: Columns to show; by default the usual ones, or all in "csv" and "json".
        width, color: Properties of the terminal, for "rich".

    Raises:
        UsageError: An unknown form or column.
    """
    check_choice("format", form, FORMS)
    frame = _sorted(matrix.frame, sort_by)
    notes = [*cautions(frame)]
    sheet = Sheet(title=matrix.title, frame=frame, notes=notes, columns=columns)
    if form == "json":
        return json.dumps(sheet.as_json(), indent=1) + "\n"
    return _drawn([sheet], form, width=width, color=color)


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
    on_warning: Log | None = None,
) -> str:
    """One table for each group under `root`: those of `machine` first, reference matrices last.

    CSV is one table whose rows name machine, source and scale; JSON is a list of tables.

    Args:
        root: A results folder, or one group in it.
        machine: Names of this machine.
        expression: Selects cells, in the syntax of -k.
        target: Validation accuracy for time to accuracy; by default each run's own.
        on_warning: Called with a sentence about each damaged record.

    Raises:
        StoreError: There is nothing to show, or it cannot be read.
        UsageError: An unknown form or column, a target outside (0, 1], or an `expression` that
            matches no cell.
    """
    check_choice("format", form, FORMS)
    if isinstance(shape, Pivot) and (sort_by is not None or columns is not None):
        raise UsageError("a pivot table has fixed columns: leave --sort and --columns out")
    sheets: list[Sheet] = []
    for records, reference, notes in _chosen(root, machine, expression, target, on_warning):
        for part in footings(records) if shape else [records]:
            matrix = build(part, reference=reference)
            sheets.append(_sheet(matrix, shape, notes, versions(part), sort_by, columns))
    if form == "json":
        return json.dumps([sheet.as_json() for sheet in sheets], indent=1) + "\n"
    return _drawn(sheets, form, width=width, color=color)


def _chosen(
    root: Path,
    machine: Collection[str],
    expression: str,
    target: float | None,
    on_warning: Log | None,
) -> Iterator[tuple[Sequence[RecordSummary], bool, list[str]]]:
    """The selected records of each group, whether it is a reference, and notes."""
    kind = RecordSummary if target is None else Record  # another target needs the curves
    found = {}
    for group in groups(root, machines=machine):
        store = Store(group.folder)
        warned = {"on_warning": on_warning} if on_warning else {}
        found[group] = store.records_as(kind, **warned, sanitized=True)
    if not any(found.values()):
        raise StoreError(f"there are no records under {root}: `bench run` makes some")
    for group, records in matching(found, expression).items():
        if records and target is None:
            yield records, group.reference, []
        elif records and target is not None:
            changed, note = retarget(cast(list[Record], records), target)
            yield changed, group.reference, [note]


def _sheet(
    matrix: Matrix[RecordT],
    shape: Shape,
    notes: Sequence[str],
    software: str,
    sort_by: str | None,
    columns: Sequence[str] | None,
) -> Sheet:
    if isinstance(shape, Pivot):
        sheet = pivoted(matrix.frame, shape)
        title, more = f"{sheet.title} | {matrix.title}", [*notes, *sheet.notes]
        return replace(sheet, title=title, notes=more, versions=software)
    if isinstance(shape, Grouping):
        frame, more = averaged(matrix.frame, shape.axes)
    else:
        frame, more = matrix.frame, [*cautions(matrix.frame)]
    return Sheet(
        title=matrix.title,
        frame=_sorted(frame, sort_by),
        notes=[*notes, *more],
        versions=software,
        columns=columns,
    )


def _sorted(frame: pd.DataFrame, column: str | None) -> pd.DataFrame:
    if column is None:
        return frame
    check_choice("column to sort by", column, list(frame.columns))
    return sort(frame, column)


def write_matrix(store: Store, records: Iterable[Record]) -> Path:
    """Writes matrix.csv and matrix.md of a group and returns the path of the latter."""
    matrix = build(records)
    store.write_derived("matrix.csv", render(matrix, "csv"))
    return store.write_derived("matrix.md", render(matrix, "md"))


def footings(records: Iterable[RecordT]) -> list[list[RecordT]]:
    """Splits records into parts that may be averaged."""
    parts: dict[Key, list[RecordT]] = defaultdict(list)
    for key, runs in grouped(records).items():
        parts[key.footing] += runs
    return list(parts.values())


def averaged(
    frame: pd.DataFrame, axes: Sequence[str], metric: Metric = TIME
) -> tuple[pd.DataFrame, list[str]]:
    """Means over the cells of a matrix with equal `axes`, and notes on what was averaged.

    Each cell has the same weight, however many seeds it has. Failed cells count in `all_cells` but
    not in `cells`. Times to accuracy are means over the cells that have one; `reached` of `seeds`
    says how many runs do. A group of one cell keeps its deviation over seeds.

    Args:
        metric: The metric to show, which decides the notes.
    """
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    rows: list[dict[str, Any]] = frame.to_dict(orient="records")  # type: ignore[assignment]
    for row in rows:
        cells[tuple(row[axis] for axis in axes)].append(row)
    others = [axis for axis in AXES if axis not in axes]
    kept = [name for name in frame.columns if name not in others]
    means = pd.DataFrame(map(_mean_row, cells.values()), columns=[*kept, "cells", "all_cells"])
    means = means.astype(dict.fromkeys([*METRIC_COLUMNS, "reached"], float))
    notes = [*suspects(frame)] if metric.timing else []
    notes += _notes(cells, others, timed=metric.to_target)
    return sort(means, "time_to_accuracy_s"), notes


def _mean_row(cells: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in cells if row["seeds"]]
    if len(cells) == 1:
        return cells[0] | {"cells": len(good), "all_cells": 1}
    row = dict(cells[0])
    row |= {"cells": len(good), "all_cells": len(cells), "parameters": None, "budget": ""}
    row |= {name: sum(one[name] for one in cells) for name in ("seeds", "runs", "trusted")}
    reached = [one["reached"] for one in good if not is_missing(one["reached"])]
    row["reached"] = sum(reached) if reached else None
    for name in METRICS:
        known = [one[name] for one in good if not is_missing(one[name])]
        row[name], row[f"{name}_sd"] = statistics.fmean(known) if known else None, None
    row["bound_by"] = bound_by(row["stall_pct"])
    prefix = "per batch: "
    ops = (op for one in cells for op in one["draws"].removeprefix(prefix).split(", ") if op)
    row["draws"] = prefix * any(one["draws"] for one in cells) + ", ".join(dict.fromkeys(ops))
    for name in ("reads", "timing_suspect", "reason"):
        texts = dict.fromkeys(part for one in cells for part in one[name].split("; ") if part)
        row[name] = "; ".join(_some(list(texts)))
    whole = sum(one["status"] == "ok" for one in cells)
    row["status"] = "ok" if whole == len(cells) else f"{whole} of {len(cells)} cells ok"
    return row


def _some(texts: list[str]) -> list[str]:
    rest = len(texts) - MAX_NAMES
    return [*texts[:MAX_NAMES], *([f"{rest} more"] if rest > 0 else [])]


def _notes(
    cells: Mapping[tuple[str, ...], list[dict[str, Any]]], others: Sequence[str], *, timed: bool
) -> list[str]:
    """What was averaged, and cautions about comparing the means."""
    sizes = sorted({len(members) for members in cells.values()})
    if not sizes or sizes == [1]:
        return []
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    notes = [f"means over {', '.join(others)}: {span} cells each, all with the same weight"]
    if timed:
        notes.append(
            "times to accuracy are means over the cells that reached the target; if some runs "
            "missed it, the table says how many reached it"
        )
    sets = {
        frozenset(tuple(row[axis] for axis in others) for row in members)
        for members in cells.values()
    }
    if len(sets) > 1:
        notes.append(
            f"caution: the means are over different combinations of {' x '.join(others)}, so they "
            "are not directly comparable; choose cells with -k"
        )
    differing: set[str] = set()
    for members in cells.values():
        budgets = [set(row["budget"].split(", ")) for row in members]
        differing |= set.union(*budgets) - set.intersection(*budgets) - {""}
    if differing:
        notes.append(f"cells within a mean also differ in {', '.join(_some(sorted(differing)))}")
    return notes


def pivoted(frame: pd.DataFrame, pivot: Pivot) -> Sheet:
    """A pivot table of one metric of a matrix; values of several cells are averaged."""
    down, across = pivot.axes or _usual_axes(frame)
    metric = METRICS[pivot.metric]
    means, notes = averaged(frame, (down, across), metric)
    texts, best = shown(means, [metric.name])
    rows, heads = (sorted(set(means[axis])) for axis in (down, across))
    cells: dict[str, list[str]] = {down: rows} | {head: [ABSENT] * len(rows) for head in heads}
    values: dict[str, list[Any]] = {head: [None] * len(rows) for head in heads}
    bold: dict[str, set[int]] = defaultdict(set)
    entries: list[dict[str, Any]] = means.to_dict(orient="records")  # type: ignore[assignment]
    for index, entry in enumerate(entries):
        row, head = rows.index(entry[down]), entry[across]
        text = cells[head][row] = _entry_text(entry, texts[metric.name][index])
        values[head][row] = text if is_missing(entry[metric.name]) else entry[metric.name]
        if index in best[metric.name]:
            bold[head].add(row)
    same = {name: [frame[name].iloc[0]] * len(rows) for name in GROUP if len(frame)}
    columns = {down: COLUMNS[down]} | {h: Column(header=h, kind=metric.kind) for h in heads}
    return Sheet(
        title=f"{metric.header}, {down} x {across}",
        frame=pd.DataFrame(same | {down: rows} | values, dtype=object),
        notes=notes,
        pivot=Table(columns=columns, cells=cells, best=bold, keep=True),
    )


def _entry_text(entry: dict[str, Any], text: str) -> str:
    """The value, or the status if there is none; with the number of cells, if some are missing."""
    if not entry["cells"]:
        return str(entry["status"])
    whole = entry["cells"] == entry["all_cells"]
    return text if whole else f"{text} ({entry['cells']}/{entry['all_cells']} cells)"


def _usual_axes(frame: pd.DataFrame) -> tuple[str, str]:
    """The first two axes that differ in a matrix, with another one if fewer do."""
    differing = {axis for axis in AXES if frame[axis].nunique() > 1}
    return max(combinations(AXES, 2), key=lambda pair: len(differing & set(pair)))
