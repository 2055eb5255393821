"""The matrix along fewer axes: means over the others, as rows or as a pivot table.

Cells are only averaged with cells of the same footing: what makes figures incomparable (images,
budget, precision, target, machine, torch) never differs within a table. Batch size, width and
recipe may, since they belong to a net and its optimizer; a note says so.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from bench.cell import AXES, fields_of
from bench.record import RecordT
from bench.report.matrix import GROUP, MEASURES, bound_by, sort
from bench.report.render import ABSENT, COLUMNS, Column, TableError, shown
from bench.report.rows import grouped
from pipelines.catalog import unknown_name

FOOTING = fields_of("condition", "budget")  # fields that agree in all cells of a mean
Cells = dict[tuple[str, ...], list[dict[str, Any]]]
NAMED = 4  # reasons and differences that are named; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Rows by these axes, averaged over the others."""

    axes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """One figure, an axis down and an axis across.

    Args:
        metric: A measure of the matrix.
        axes: Row and column; None for the first two that differ.
    """

    metric: str = "accuracy"
    axes: tuple[str, str] | None = None


Shape = Grouping | Pivot | None


@dataclass(frozen=True, kw_only=True)
class Pivoted:
    """A pivot table.

    Args:
        axes: Row and column.
        columns: The row axis, then a column for each value of the column axis.
        cells: Texts by column.
        best: Rows, by column, that hold the best value of the whole table.
        frame: The same with numbers, and words where there is none.
        notes: What is averaged.
    """

    axes: tuple[str, str]
    columns: dict[str, Column]
    cells: dict[str, list[str]]
    best: dict[str, set[int]]
    frame: pd.DataFrame
    notes: list[str]


def shape(*, group: Sequence[str] | None, metric: str | None, pivot: Sequence[str] | None) -> Shape:
    """What was asked for by names; None for the whole matrix.

    Raises:
        TableError: An unknown axis or measure, or both shapes at once.
    """
    if group is not None and (metric is not None or pivot is not None):
        raise TableError(
            "--group and a pivot table (--metric, --pivot) are two tables: ask for one"
        )
    for name in [*(group or ()), *(pivot or ())]:
        if name not in AXES:
            raise TableError(unknown_name("axis", name, list(AXES)))
    if group is not None:
        return Grouping(axes=tuple(axis for axis in AXES if axis in group))
    if metric is None and pivot is None:
        return None
    if metric is not None and metric not in MEASURES:
        raise TableError(unknown_name("measure", metric, list(MEASURES)))
    if pivot is not None and len(set(pivot)) != 2:
        raise TableError(f"--pivot takes two axes, ROW,COLUMN, got {','.join(pivot)!r}")
    axes = None if pivot is None else (pivot[0], pivot[1])
    return Pivot(metric=metric or "accuracy", axes=axes)


def footings(records: Iterable[RecordT]) -> list[list[RecordT]]:
    """The records in parts that may be averaged, in the order of their first records."""
    parts: dict[tuple[object, ...], list[RecordT]] = defaultdict(list)
    for key, runs in grouped(records).items():
        same = tuple(getattr(key.cell, name) for name in FOOTING)
        parts[(*same, key.fingerprint, key.machine, key.torch)] += runs
    return list(parts.values())


def averaged(
    frame: pd.DataFrame, axes: Sequence[str], *, timed: bool = True
) -> tuple[pd.DataFrame, list[str]]:
    """Means over the cells of a matrix that agree in `axes`, and notes on what they are means of.

    Every cell weighs alike, whatever its seeds. A cell that failed has no figures; it counts in
    `all_cells`, not in `cells`. Times to accuracy are means over the cells that have one, and
    `reached` of `seeds` says how many runs did. A group of one cell keeps its deviation over seeds.

    Args:
        frame: Of a matrix.
        axes: To keep.
        timed: Whether times to accuracy will be shown, which takes a note.
    """
    cells: Cells = defaultdict(list)
    found: list[dict[str, Any]] = frame.to_dict(orient="records")  # type: ignore[assignment]
    for row in found:
        cells[tuple(row[axis] for axis in axes)].append(row)
    rows = [_mean_row(members) for members in cells.values()]
    others = [axis for axis in AXES if axis not in axes]
    kept = [name for name in frame.columns if name not in others]
    figures = [name for measure in MEASURES for name in (measure, f"{measure}_sd")]
    means = pd.DataFrame(rows, columns=[*kept, "cells", "all_cells"])
    means = means.astype(dict.fromkeys([*figures, "reached"], float))
    return sorted_by(means, "time_to_accuracy_s"), _notes(cells, others, timed=timed)


def sorted_by(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with the best first, also of a frame that has lost some axes."""
    lost = [axis for axis in AXES if axis not in frame.columns]
    return sort(frame.assign(**dict.fromkeys(lost, "")), column).drop(columns=lost)


def _mean_row(members: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in members if row["seeds"]]
    if len(members) == 1:
        return members[0] | {"cells": len(good), "all_cells": 1}
    row = dict(members[0])
    row |= {"cells": len(good), "all_cells": len(members), "parameters": None, "budget": ""}
    row |= {name: sum(one[name] for one in members) for name in ("seeds", "runs")}
    row["reached"] = _total(one["reached"] for one in good)
    for name in MEASURES:
        row[name], row[f"{name}_sd"] = _mean(one[name] for one in good), None
    row["bound_by"] = bound_by(row["stall_pct"])
    for name in ("reads", "draws", "timing_suspect", "reason"):
        row[name] = _joined(one[name] for one in members)
    whole = sum(one["status"] == "ok" for one in members)
    row["status"] = "ok" if whole == len(members) else f"{whole} of {len(members)} cells ok"
    return row


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return statistics.fmean(known) if known else None


def _total(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) if known else None


def _joined(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(part for text in texts if text for part in text.split("; ")))
    more = [f"{len(found) - NAMED} more"] if len(found) > NAMED else []
    return "; ".join([*found[:NAMED], *more])


def _notes(cells: Cells, others: Sequence[str], *, timed: bool) -> list[str]:
    """What the means are of, and what speaks against comparing them."""
    sizes = {len(members) for members in cells.values()}
    if not sizes or sizes == {1}:
        return []
    span = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{max(sizes)}"
    notes = [f"means over {', '.join(others)}: {span} cells each, every cell with the same weight"]
    if timed:
        notes.append(
            "times to accuracy are means of those that reached the target; where some runs missed "
            "it, how many reached it is said"
        )
    sets = {
        frozenset(tuple(row[axis] for axis in others) for row in members)
        for members in cells.values()
    }
    if len(sets) > 1:
        notes.append(
            f"caution: the means are not over the same {' x '.join(others)}, so they do not "
            "compare alike with alike; choose cells with -k"
        )
    parts = _differing_budgets(cells.values())
    if parts:
        more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
        notes.append(f"cells of one mean differ in {', '.join(parts[:NAMED])}{more} too")
    return notes


def _differing_budgets(groups: Iterable[list[dict[str, Any]]]) -> list[str]:
    """Parts of a budget that some but not all cells of a mean have, sorted."""
    found: set[str] = set()
    for members in groups:
        budgets = [set(row["budget"].split(", ")) for row in members]
        found |= set.union(*budgets) - set.intersection(*budgets)
    return sorted(found - {""})


def pivoted(frame: pd.DataFrame, pivot: Pivot) -> Pivoted:
    """A matrix as a pivot table of one figure; an entry of several cells is their mean."""
    down, across = pivot.axes or _usual_axes(frame)
    timed = pivot.metric.startswith("time_to_accuracy")
    means, notes = averaged(frame, (down, across), timed=timed)
    texts, best = shown(means, [pivot.metric])
    rows, heads = (sorted(set(means[axis])) for axis in (down, across))
    cells: dict[str, list[str]] = {down: rows} | {head: [ABSENT] * len(rows) for head in heads}
    plain: dict[str, list[Any]] = {head: [None] * len(rows) for head in heads}
    marked: dict[str, set[int]] = {name: set() for name in cells}
    for index, entry in enumerate(means.to_dict(orient="records")):
        row, head = rows.index(entry[down]), entry[across]
        text = cells[head][row] = _entry_text(entry, texts[pivot.metric][index])  # type: ignore[arg-type]
        plain[head][row] = text if math.isnan(entry[pivot.metric]) else entry[pivot.metric]
        if index in best[pivot.metric]:
            marked[head].add(row)
    same = {name: [frame[name].iloc[0]] * len(rows) for name in GROUP if len(frame)}
    return Pivoted(
        axes=(down, across),
        columns={down: COLUMNS[down]} | {head: Column(header=head, right=True) for head in heads},
        cells=cells,
        best=marked,
        frame=pd.DataFrame(same | {down: rows} | plain, dtype=object),
        notes=notes,
    )


def _entry_text(entry: dict[str, Any], text: str) -> str:
    """The figure; the status where there is none, and how many cells it is of if not of all."""
    if not entry["cells"]:
        return str(entry["status"])
    whole = entry["cells"] == entry["all_cells"]
    return text if whole else f"{text} ({entry['cells']}/{entry['all_cells']} cells)"


def _usual_axes(frame: pd.DataFrame) -> tuple[str, str]:
    """The first two axes that differ in a matrix; with fewer, the differing one and another."""
    differing = {axis for axis in AXES if frame[axis].nunique() > 1}
    pairs = list(combinations(AXES, 2))
    return max(pairs, key=lambda pair: len(differing & set(pair)))
