"""Records as flat rows for data frames: one column for each setting and each number."""

from dataclasses import fields
from typing import Any

import msgspec

from bench.cell import AXES, Cell
from bench.record import Conditions, Memory, Metrics, RecordSummary, Throughput, Timings

Scalar = str | int | float | bool | None
PARTS = {
    "metrics": Metrics,
    "throughput": Throughput,
    "timings": Timings,
    "memory": Memory,
    "conditions": Conditions,
}
TABLES = ("per_class", "confusion", "slowed")  # fields of the parts that are no scalars
RENAMED = {  # of the parts, whose names alone would say too little, or exist already
    "precision": "macro_precision",
    "recall": "macro_recall",
    "median": "images_per_s",
    "p5": "images_per_s_p5",
    "p95": "images_per_s_p95",
    "ceiling": "images_per_s_ceiling",
}
OWN = (
    "energy_j", "parameters", "training_images", "validation_images", "test_images", "fingerprint",
    "reads", "stepping", "compiled", "attempt", "started", "finished", "command",
)  # fmt: skip


def settings(cell: Cell) -> dict[str, Scalar]:
    """The fields of a cell and the settings of its recipe, if any; None if unset."""
    own = msgspec.to_builtins(cell)
    own.pop("recipe")
    recipe = cell.recipe.settings if cell.recipe else {}
    return {**own, **recipe, **own}  # the cell's first, and they win


def row(record: RecordSummary) -> dict[str, Scalar]:
    """A run's settings and recorded numbers, or None; `reached` is 1 or 0 if its target counts."""
    tested = record.metrics if record.seeks_target else None
    found: dict[str, Any] = {"run_id": record.run_id}
    found |= {axis: getattr(record.cell, axis) for axis in AXES}
    found |= {"seed": record.seed, "status": record.status, **settings(record.cell)}
    found["reached"] = tested and int(tested.time_to_accuracy_s is not None)
    for part, kind in PARTS.items():
        for name in (field.name for field in fields(kind) if field.name not in TABLES):
            value = getattr(getattr(record, part), name, None)
            found.setdefault(RENAMED.get(name, name), value)
    found |= {name: getattr(record, name) for name in OWN}
    found["timing_suspect"] = "; ".join(record.timing_suspect)
    error = record.error
    found["error"] = " ".join(f"{error.type}: {error.message}".split()) if error else ""
    for name, value in record.environment.items():
        found.setdefault(name, "" if value is None else value)
    return {name: value for name, value in found.items() if isinstance(value, Scalar)}
