"""The columns of the matrix as people see them: headers, units, digits, what is best."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.report.layout import Column
from pipelines.catalog import unknown_name

Row = dict[str, Any]
NOT_REACHED = "not reached"
ABSENT = "-"
WHOLE = {"seeds": "runs", "cells": "all_cells"}  # what ended well, and of how many


class TableError(ValueError):
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
