"""One cell closely: its seeds, confusion matrix and classes, as the reader chooses.

The matrix on the page: sorted, filtered and with the columns that a reader chooses.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cell import AXES, HPARAMS, plain_text
from bench.record import Record
from bench.report.matrix import Matrix
from bench.report.page.html import data, tag, text
from bench.report.render import ABSENT, COLUMNS, Column, laid_out, shown
from bench.report.rows import settings
from bench.report.show import rerun_command

DIGITS = 6  # significant; the page shows fewer
LARGEST_CONFUSION = 20  # classes; of more the page lists what is most confused
CONFUSED = 40


def closer_section(matrix: Matrix[Record], prefix: str, results: Path) -> str:
    """A choice of cell and seed, and the data from which the page's script fills the rest.

    Args:
        matrix: Of the group.
        prefix: Of the section's ids.
        results: The results folder, for the command that trains a run again.
    """
    if not matrix.runs:
        return ""
    names = [runs[0].cell.name for runs in matrix.runs]
    budgets = matrix.frame["budget"].tolist()
    options = [
        tag("option", text(f"{name} ({budget})" if budget else name), value=index)
        for index, (name, budget) in enumerate(zip(names, budgets, strict=True))
    ]
    choice = tag(
        "div",
        tag("label", "cell ", tag("select", *options, data_pick="cell")),
        tag("label", "seed ", tag("select", data_pick="seed")),
        class_="filters",
    )
    missing = tag("noscript", tag("p", "Choosing a cell needs JavaScript."))
    return tag(
        "div",
        choice,
        missing,
        tag("div", class_="cell", aria_live="polite"),
        data(f"{prefix}-cells", [cell_data(runs, results) for runs in matrix.runs]),
        class_="picker",
        data_cells=f"{prefix}-cells",
    )


def cell_data(runs: tuple[Record, ...], results: Path) -> dict[str, Any]:
    """What the page tells of one row of the matrix."""
    first = runs[0]
    return {
        "name": first.cell.name,
        "settings": _settings(first),
        "classes": next((_classes(run) for run in runs if run.metrics), []),
        "runs": [_run_data(run, results) for run in sorted(runs, key=lambda run: run.seed)],
    }


def _settings(record: Record) -> dict[str, str]:
    cell = record.cell
    said = {
        name.replace("_", " "): plain_text(getattr(cell, name))
        for name in HPARAMS
        if name not in AXES
    }
    if record.parameters:
        said["parameters"] = f"{record.parameters:,}"
    said |= {name.replace("_", " "): value for name, value in settings(cell).items()}
    if cell.recipe is not None and cell.recipe.origin:
        said["recipe from"] = cell.recipe.origin
    return said


def _classes(record: Record) -> list[str]:
    assert record.metrics is not None
    return [scores.name for scores in record.metrics.per_class]


def _run_data(record: Record, results: Path) -> dict[str, Any]:
    metrics, throughput, timings = record.metrics, record.throughput, record.timings
    told: dict[str, Any] = {
        "seed": record.seed,
        "id": record.run_id,
        "status": record.status,
        "reason": f"{record.error.type}: {record.error.message}" if record.error else "",
        "suspect": "; ".join(record.timing_suspect),
        "again": rerun_command(record, results),
        "train_s": _short(timings.train_s),
        "total_s": _short(timings.total_s),
        "images_per_s": _short(throughput.median if throughput else None),
        "stall_pct": _short(throughput.stall_pct if throughput else None),
    }
    if metrics is not None:
        told |= {
            "accuracy": _short(metrics.accuracy),
            "macro_f1": _short(metrics.macro_f1),
            "precision": _short(metrics.precision),
            "recall": _short(metrics.recall),
            "time_to_accuracy_s": _short(metrics.time_to_accuracy_s),
            **_confusion(metrics.confusion),
            "per_class": [
                [_short(one.precision), _short(one.recall), _short(one.f1), one.support]
                for one in metrics.per_class
            ],
        }
    return told


def _confusion(counts: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """The matrix, or of many classes [true, predicted, images] of what is most confused."""
    if len(counts) <= LARGEST_CONFUSION:
        return {"confusion": counts}
    pairs = [
        [true, predicted, count]
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return {"confused": sorted(pairs, key=lambda pair: -pair[2])[:CONFUSED]}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


MORE = ("status", "runs", "reached", "parameters", "reads", "draws", "timing_suspect")
FILTERS = (*AXES, "status")
NO_RUNS = "No runs are recorded here yet; `bench run` makes some."


def matrix_section(matrix: Matrix[Record], prefix: str) -> str:
    """Filters and table; every row links to the closer look at its cell.

    Args:
        matrix: What to show.
        prefix: Of the ids of this group's elements.
    """
    if not len(matrix.frame):
        return tag("p", text(NO_RUNS))
    usual, _ = shown(matrix.frame, None)
    told = [name for name in (*COLUMNS, *MORE) if name in matrix.frame.columns or name == "notes"]
    cells, best = shown(matrix.frame, [*usual, *(name for name in told if name not in usual)])
    cells = {name: texts for name, texts in cells.items() if name in usual or _tells(texts)}
    columns = laid_out(cells)
    rows: list[dict[str, Any]] = matrix.frame.to_dict(orient="records")  # type: ignore[assignment]
    heads = [_head(name, column, name in usual) for name, column in columns.items()]
    body = [
        _row(
            row,
            index,
            {name: texts[index] for name, texts in cells.items()},
            {name for name in cells if index in best[name]},
            columns,
            usual=set(usual),
            prefix=prefix,
        )
        for index, row in enumerate(rows)
    ]
    table = tag(
        "table",
        tag("thead", tag("tr", *heads)),
        tag("tbody", "\n".join(body)),
        class_="matrix",
        id=f"{prefix}-matrix-table",
        data_sortable=True,
    )
    return _controls(rows, columns, set(usual), prefix) + tag(
        "div", table, class_="box tall", tabindex=0
    )


def _tells(texts: Sequence[str]) -> bool:
    return any(value not in ("", ABSENT, "None", "nan") for value in texts)


def _head(name: str, column: Column, usual: bool) -> str:
    return tag(
        "th",
        tag("button", text(column.header), type="button"),
        scope="col",
        class_="n" if column.is_number else None,
        data_name=name,
        data_first="descending" if column.lower is False else "ascending",
        hidden=not usual,
    )


def _row(
    row: dict[str, Any],
    index: int,
    texts: dict[str, str],
    best: set[str],
    columns: dict[str, Column],
    *,
    usual: set[str],
    prefix: str,
) -> str:
    filled = []
    for name, value in texts.items():
        content = text(_whole(value) if name == "parameters" else value)
        if name == "architecture":
            content = tag("a", content, href=f"#{prefix}-closer", data_cell=index)
        filled.append(
            tag(
                "td",
                tag("strong", content) if name in best else content,
                class_=_class(name, columns[name], value),
                data_v=_figure(row.get(name), columns[name], name),
                hidden=name not in usual,
            )
        )
    marks = {f"data_{name}": str(row[name]) for name in FILTERS}
    failed = "failed" if row["status"] != "ok" else None
    return tag("tr", *filled, class_=failed, **marks)


def _whole(value: str) -> str:
    return value.removesuffix(".0")


def _class(name: str, column: Column, value: str) -> str | None:
    if name in ("notes", "budget") and value:
        return f"long {name}"
    return "n" if column.is_number or name in MORE[1:4] else None


def _figure(value: Any, column: Column, name: str) -> str | None:
    """What a figure is sorted by: "" for one that is missing; None for a text."""
    if not (column.is_number or name in ("runs", "reached", "parameters")):
        return None
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else repr(value)


def _controls(
    rows: list[dict[str, Any]], columns: dict[str, Column], usual: set[str], prefix: str
) -> str:
    search = tag(
        "label",
        "words ",
        tag("input", type="search", data_filter="words", placeholder="resnet18 kornia"),
    )
    selects = [
        tag("label", text(name), " ", _select(name, [str(row[name]) for row in rows]))
        for name in FILTERS
    ]
    boxes = [
        tag(
            "label",
            tag("input", type="checkbox", data_column=name, checked=name in usual),
            " ",
            text(column.header),
        )
        for name, column in columns.items()
    ]
    choice = tag("details", tag("summary", "Columns"), tag("div", *boxes, class_="boxes"))
    count = tag("output", f"{len(rows)} of {len(rows)} cells", aria_live="polite")
    reset = tag("button", "Show all", type="button", data_reset=True)
    return tag(
        "div",
        tag("div", search, *selects, reset, count, class_="filters"),
        choice,
        class_="controls",
        data_for=f"{prefix}-matrix-table",
    )


def _select(name: str, values: list[str]) -> str:
    options = [tag("option", "all", value="")]
    options += [tag("option", text(value), value=value) for value in sorted(set(values))]
    return tag("select", *options, data_filter=name)
