"""What each cell gave: its runs, their figures, and what it may be compared with.

A missed target is a time longer than any other (infinite), never a gap. Runs whose timing is
suspect have scores but no speeds.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.cell import AXES, Cell
from bench.record import Record
from bench.report.rows import Key, grouped
from bench.report.settings import differing_settings

FACTORS = (*AXES, "epochs")
CHOSEN_WITH = {"architecture", "optimizer"}  # a recipe and its batch size belong to these two


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A figure that cells are compared by.

    Args:
        name: As in the matrix.
        label: As people read it.
        ratio: Whether two values are compared by their ratio; else by their difference in points
            of a percent.
        higher: Whether more is better.
        timing: Whether a busy machine spoils it.
    """

    name: str
    label: str
    ratio: bool
    higher: bool
    timing: bool


ACCURACY = Metric(name="accuracy", label="accuracy", ratio=False, higher=True, timing=False)
MACRO_F1 = Metric(name="macro_f1", label="macro F1", ratio=False, higher=True, timing=False)
SPEED = Metric(name="images_per_s", label="images/s", ratio=True, higher=True, timing=True)
TIME = Metric(
    name="time_to_accuracy_s", label="time to accuracy", ratio=True, higher=False, timing=True
)
TRAIN = Metric(name="train_s", label="train time", ratio=True, higher=False, timing=True)
METRICS = (ACCURACY, MACRO_F1, SPEED, TIME)  # what effects are told of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One cell with all that its runs gave.

    Args:
        key: What its runs have in common.
        runs: By seed.
        label: Its name, with what sets it apart from others of that name.
    """

    key: Key
    runs: tuple[Record, ...]
    label: str

    @property
    def cell(self) -> Cell:
        """The cell, without the origin of its recipe."""
        return self.key.cell

    @cached_property
    def good(self) -> tuple[Record, ...]:
        """The runs that ended well."""
        return tuple(run for run in self.runs if run.status == "ok" and run.metrics is not None)

    @cached_property
    def trusted(self) -> tuple[Record, ...]:
        """Those of them whose timing is not suspect."""
        return tuple(run for run in self.good if not run.timing_suspect)

    def values(self, metric: Metric) -> tuple[float, ...]:
        """One figure a run, percents for scores; infinite for a missed target."""
        runs = self.trusted if metric.timing else self.good
        found = (value_of(run, metric) for run in runs)
        return tuple(value for value in found if value is not None)

    @property
    def reached(self) -> int:
        """Runs that reached the target."""
        return sum(value_of(run, TIME) not in (None, math.inf) for run in self.good)

    @property
    def aimed(self) -> int:
        """Runs that could have been seen to reach it."""
        return sum(value_of(run, TIME) is not None for run in self.good)


def value_of(run: Record, metric: Metric) -> float | None:
    """A figure of a run that ended well, a percent for a score; None where it has none."""
    assert run.metrics is not None
    if metric is TIME:
        if not run.cell.holds_out:
            return None
        seconds = run.metrics.time_to_accuracy_s
        return math.inf if seconds is None else seconds
    if metric is SPEED:
        return run.throughput.median if run.throughput and run.throughput.median > 0 else None
    if metric is TRAIN:
        return run.timings.train_s if run.timings.train_s > 0 else None
    return 100 * float(getattr(run.metrics, metric.name))


def mean(values: Sequence[float]) -> float:
    """Their mean, to what a figure can be told by; infinite if one is."""
    return round(statistics.fmean(values), 9)


def outcomes_by_group(records: Iterable[Record]) -> dict[tuple[str, str, str], list[Outcome]]:
    """The outcomes of each machine, scale and source, the same for any order of the records."""
    found = grouped(sorted(records, key=lambda record: (record.run_id, record.finished)))
    groups: dict[tuple[str, str, str], dict[Key, list[Record]]] = defaultdict(dict)
    for key, runs in found.items():
        groups[key.machine, key.cell.scale, key.cell.source][key] = runs
    return {name: _labelled(groups[name]) for name in sorted(groups)}


def _labelled(found: dict[Key, list[Record]]) -> list[Outcome]:
    same: dict[str, list[Key]] = defaultdict(list)
    for key in found:
        same[key.cell.name].append(key)
    labels: dict[Key, str] = {}
    for name, keys in same.items():
        parts = {key: key.parts() for key in keys}
        recipes = differing_settings([key.cell for key in keys])
        for key in keys:
            apart = [
                text
                for part, text in parts[key].items()
                if text and any(other.get(part) != text for other in parts.values())
            ]
            apart += recipes[key.cell]
            labels[key] = name + (f" ({', '.join(apart)})" if apart else "")
    outcomes = [
        Outcome(key=key, runs=tuple(sorted(runs, key=lambda run: run.seed)), label=labels[key])
        for key, runs in found.items()
    ]
    return sorted(outcomes, key=lambda outcome: (outcome.label, outcome.runs[0].run_id))


def matching_key(key: Key, factor: str) -> Key:
    """The key without `factor`: cells that agree in it differ in nothing else.

    Nets and optimizers are compared each with its own recipe, the batch size included.
    """
    changes: dict[str, object] = {factor: 1 if factor == "epochs" else ""}
    if factor in CHOSEN_WITH:
        changes |= {"recipe": None, "batch_size": 1}
    versions = tuple((kind, number) for kind, number in key.versions if kind != factor)
    return replace(key, cell=replace(key.cell, **changes), versions=versions)  # type: ignore[arg-type]


def setting_key(key: Key) -> Key:
    """The key without axes, recipe and epochs: cells that agree in it may be ranked together."""
    blank = replace(
        key.cell, **dict.fromkeys(AXES, ""), recipe=None, batch_size=1, epochs=1  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(key, cell=blank, versions=())


__all__ = [
    "ACCURACY",
    "FACTORS",
    "MACRO_F1",
    "METRICS",
    "SPEED",
    "TIME",
    "TRAIN",
    "Metric",
    "Outcome",
    "matching_key",
    "mean",
    "outcomes_by_group",
    "setting_key",
    "value_of",
]
