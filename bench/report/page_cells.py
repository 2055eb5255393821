"""One cell closely: its seeds, confusion matrix and classes, as the reader chooses."""

from collections.abc import Sequence
from typing import Any

from bench.record import Record
from bench.report.matrix import Matrix
from bench.report.page_html import data, tag, text
from bench.report.rerun import rerun
from bench.report.settings import settings

DIGITS = 6  # significant; the page shows fewer
LARGEST_CONFUSION = 20  # classes; of more the page lists what is most confused
CONFUSED = 40


def closer_section(matrix: Matrix[Record], prefix: str) -> str:
    """A choice of cell and seed, and the data from which the page's script fills the rest."""
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
        data(f"{prefix}-cells", [cell_data(runs, names) for runs in matrix.runs]),
        class_="picker",
        data_cells=f"{prefix}-cells",
    )


def cell_data(runs: tuple[Record, ...], names: Sequence[str]) -> dict[str, Any]:
    """What the page tells of one row of the matrix; `names` are those of all cells."""
    first = runs[0]
    return {
        "name": first.cell.name,
        "settings": _settings(first),
        "classes": next((_classes(run) for run in runs if run.metrics), []),
        "runs": [_run_data(run, names) for run in sorted(runs, key=lambda run: run.seed)],
    }


def _settings(record: Record) -> dict[str, str]:
    cell = record.cell
    said = {"epochs": str(cell.epochs), "batch size": str(cell.batch_size)}
    said |= {"width": f"{cell.width:g}", "precision": cell.precision}
    said |= {"compile": "on" if cell.compile else "off"}
    if record.parameters:
        said["parameters"] = f"{record.parameters:,}"
    said |= {name.replace("_", " "): value for name, value in settings(cell).items()}
    if cell.recipe is not None and cell.recipe.origin:
        said["recipe from"] = cell.recipe.origin
    return said


def _classes(record: Record) -> list[str]:
    assert record.metrics is not None
    return [scores.name for scores in record.metrics.per_class]


def _run_data(record: Record, names: Sequence[str]) -> dict[str, Any]:
    metrics, throughput, timings = record.metrics, record.throughput, record.timings
    told: dict[str, Any] = {
        "seed": record.seed,
        "id": record.run_id,
        "status": record.status,
        "reason": f"{record.error.type}: {record.error.message}" if record.error else "",
        "suspect": "; ".join(record.timing_suspect),
        "again": rerun(record, names),
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


__all__ = ["cell_data", "closer_section"]
