"""The matrix: one row per cell, aggregated over seeds; and means over its cells."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, Generic

import pandas as pd

from bench.cell import AXES, Cell
from bench.record import RecordSummary, RecordT
from bench.report.columns import METRICS, TIME, Metric, column_named
from bench.report.render import ABSENT, NOT_REACHED, SUSPECT, is_partial
from bench.report.rows import Outcome, bound_by, by_kind, distinctions, grouped, labels, title
from bench.report.statistics.effects import widest
from bench.report.statistics.intervals import SEEDS_NEEDED
from bench.store.flat import settings
from bench.text import count

GROUP = ("machine", "source", "scale")
SETTINGS = ("epochs", "batch_size", "lr", "target_accuracy")  # columns even if all rows share them
REMARKS = ("bound_by", "reads", "draws", "differs", "timing_suspect", "status", "reason")
PARTIAL = "2 of 3: the number is the mean of 2 of the 3 runs."
METRIC_COLUMNS = [name for metric in METRICS for name in (metric, f"{metric}_sd")]


@dataclass(frozen=True, kw_only=True)
class Matrix(Generic[RecordT]):
    """The matrix of one group, with the mean and the deviation of each metric over seeds.

    Times are over the `trusted` seeds; times to accuracy over those that reached the target.
    """

    title: str  # machine, scale, source and the budget that all cells share
    frame: pd.DataFrame
    outcomes: tuple[Outcome[RecordT], ...]  # in the order of the rows


def build(records: Iterable[RecordT], *, reference: bool = False) -> Matrix[RecordT]:
    """The matrix of one machine, source and scale, sorted by time to accuracy, then accuracy."""
    found = grouped(records)
    budgets, names = distinctions(list(found)), labels({key: key.cell.name for key in found})
    outcomes = [
        Outcome(key=key, runs=tuple(runs), label=names[key], budget=budgets[key])
        for key, runs in found.items()
    ]
    given = pd.DataFrame([settings(outcome.cell) for outcome in outcomes])
    varied = [n for n in given if n in SETTINGS or given[n].nunique(dropna=False) > 1]
    varied = [name for name in varied if name not in (*GROUP, *AXES)]
    columns = [*GROUP, "cell", *AXES, "budget", *varied, "seeds", "runs", *METRIC_COLUMNS]
    columns += ["reached", "trusted", *REMARKS, "parameters", "outcome"]
    rows = [settings(one.cell) | one.row | {"outcome": one} for one in outcomes]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(METRIC_COLUMNS, float))
    frame = sort(frame, TIME.name)
    shared = title(found) if found else "no records"
    return Matrix(
        title=f"reference | {shared}" if reference else shared,
        outcomes=tuple(frame.pop("outcome")),
        frame=frame,
    )


def sort(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Sorts rows, best first; missed targets and means that lack runs come after the others."""
    axes = [axis for axis in AXES if axis in frame.columns and axis != column]
    partial = [is_partial(column_named(column), row) for row in frame.to_dict(orient="records")]
    last = {"last": pd.Series(partial, dtype=int).mask(frame[column].isna(), 2)}
    if column.startswith("time_to_accuracy"):
        missed = frame["reached"].ne(frame["seeds"]).astype(int).mask(frame["seeds"] == 0, 2)
        keys = {"missed": missed, **last, "time": frame[column], "worse": -frame["accuracy"]}
    else:
        descending = column == "seeds" or column_named(column).best == "highest"
        keys = {**last, "key": frame[column].rank(ascending=not descending, method="dense")}
    order = pd.DataFrame(keys | {axis: frame[axis] for axis in axes}).sort_values([*keys, *axes])
    return frame.loc[order.index].reset_index(drop=True)


def cautions(frame: pd.DataFrame) -> Iterator[str]:
    """Warnings about comparing rows of a matrix, a sentence each."""
    good = frame[frame["seeds"] > 0]
    if len(good) < 2:
        return
    if good["seeds"].min() < SEEDS_NEEDED:
        yield (
            "Too few seeds to say of every cell whether it is better than another: a claim needs "
            f"{SEEDS_NEEDED} (--seeds {SEEDS_NEEDED})."
        )
    machines = good["machine"].unique()
    if len(machines) > 1:
        yield (
            f"Rows come from {len(machines)} machines: compare images/s and seconds only within "
            "one machine (the budget column names it)."
        )
    yield from suspects(good)


def suspects(frame: pd.DataFrame) -> Iterator[str]:
    """How many runs of a matrix have suspect times, if any."""
    runs, trusted = int(frame["seeds"].sum()), int(frame["trusted"].sum())
    if trusted < runs:
        verb = "has" if runs - trusted == 1 else "have"
        yield (
            f"{runs - trusted} of {count(runs, 'run')} {verb} suspect timings: these times and "
            "speeds are neither averaged nor ranked."
        )


def common(cells: Sequence[Cell], axes: Sequence[str]) -> list[bool]:
    """Which cells to average so that all means by `axes` are over the same other axes.

    A place is a combination of entries of `axes`. The most places that share combinations of the
    other axes are kept, with the cells of these combinations.
    """
    others = [axis for axis in AXES if axis not in axes]
    combinations = [tuple(getattr(cell, axis) for axis in others) for cell in cells]
    places: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for cell, combination in zip(cells, combinations, strict=True):
        places[combination].add(tuple(getattr(cell, axis) for axis in axes))
    compared = widest(places.values())
    return [places[combination] == compared for combination in combinations]


def mean_over_cells(outcomes: Iterable[Outcome[Any]], name: str) -> float | None:
    """The mean of the cells' means of a metric over seeds, in the recorded unit."""
    values = [value for outcome in outcomes if (value := outcome.mean(name)) is not None]
    return statistics.fmean(values) if values else None


@dataclass(frozen=True, kw_only=True)
class Mean(Generic[RecordT]):
    """A metric's mean over cells of equal weight: an entry of a pivot table or a heat map."""

    metric: Metric
    outcomes: tuple[Outcome[RecordT], ...]

    @cached_property
    def value(self) -> float | None:
        """The mean in the recorded unit."""
        return mean_over_cells(self.outcomes, self.metric.name)

    @cached_property
    def partial(self) -> str:
        """ "2 of 3": how many runs have a value; "" if all or none have."""
        runs = sum(len(outcome.runs) for outcome in self.outcomes)
        used = sum(len(outcome.over_seeds(self.metric.name)) for outcome in self.outcomes)
        return f"{used} of {runs}" if 0 < used < runs else ""

    @property
    def text(self) -> str:
        """The value in the displayed unit, or why there is none."""
        metric = self.metric
        if self.value is not None:
            value = self.value * metric.factor
            return f"{value:,.{metric.decimals(value)}f}"
        if not any(outcome.good for outcome in self.outcomes):
            counts = Counter(run.status for outcome in self.outcomes for run in outcome.runs)
            return min(counts, key=lambda status: (-counts[status], status), default=ABSENT)
        if metric.to_target and not any(outcome.reached for outcome in self.outcomes):
            return NOT_REACHED
        runs = (run for outcome in self.outcomes for run in outcome.good)
        return SUSPECT if any(metric.of(run) is not None for run in runs) else "not measured"


def means(
    outcomes: Sequence[Outcome[RecordT]], metric: Metric, axes: tuple[str, str]
) -> dict[tuple[str, str], Mean[RecordT]]:
    """A metric by two axes, each mean over the same combinations of the other axes."""
    found: dict[tuple[str, str], list[Outcome[RecordT]]] = defaultdict(list)
    for outcome in compress(outcomes, common([outcome.cell for outcome in outcomes], axes)):
        found[getattr(outcome.cell, axes[0]), getattr(outcome.cell, axes[1])].append(outcome)
    return {place: Mean(metric=metric, outcomes=tuple(here)) for place, here in found.items()}


def averaged(matrix: Matrix[RecordT], axes: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """A matrix with one row for each combination of `axes`, and notes on what the means are over.

    Failed cells count in `all_cells` but not in `cells`. Times to accuracy are means over the cells
    that have one; `reached` of `seeds` runs do. A mean of one cell keeps its deviation over seeds.
    """
    kept = common([outcome.cell for outcome in matrix.outcomes], axes)
    frame = matrix.frame[kept].astype({"reached": float})
    groups = frame.assign(cells=frame["seeds"] > 0, all_cells=1).groupby([*axes], sort=False)
    alone = ["budget", "parameters", *(f"{name}_sd" for name in METRICS)]
    sums = ("seeds", "runs", "trusted", "cells", "all_cells")
    how: dict[str, Any] = dict.fromkeys(GROUP, "first") | dict.fromkeys(METRICS, "mean")
    how |= dict.fromkeys(sums, "sum")
    how |= dict.fromkeys(alone, lambda values: values.iloc[0] if len(values) == 1 else None)
    how |= {"reached": lambda values: values.sum(min_count=1), "status": _status}
    how |= dict.fromkeys((*REMARKS[1:5], "reason"), _texts)
    found = groups.agg(how).reset_index()
    found["bound_by"] = [bound_by(None if pd.isna(v) else v) for v in found["stall_pct"]]
    found = found.astype(dict.fromkeys(METRIC_COLUMNS, float)).fillna({"budget": ""})
    columns = [name for name in matrix.frame if name in found]
    found = found[[*columns, "cells", "all_cells"]]
    return sort(found, TIME.name), [*averaging_notes(matrix, axes, TIME)]


def _texts(values: Iterable[str]) -> str:
    return "; ".join(by_kind(text for part in values for text in part.split("; ") if text))


def _status(values: "pd.Series[str]") -> str:
    whole = int((values == "ok").sum())
    if len(values) == 1 or whole == len(values):
        return str(values.iloc[0])
    return f"{whole} of {len(values)} cells ok"


def coverage(cells: Sequence[Cell], axes: Sequence[str]) -> Iterator[str]:
    """What the means by `axes` are over, and how many cells are left out, a sentence each."""
    others = [axis for axis in AXES if axis not in axes]
    kept = [*compress(cells, common(cells, axes))]
    combinations = {tuple(getattr(cell, axis) for axis in others) for cell in kept}
    if len(combinations) > 1:
        over = f"{len(combinations)} combinations of {' and '.join(others)}"
        yield f"Means over {over}, all with the same weight."
    if len(kept) < len(cells):
        yield (
            f"{len(cells) - len(kept)} of {len(cells)} cells are left out, as other means lack "
            f"their combination of {' and '.join(others)}."
        )


def averaging_notes(matrix: Matrix[RecordT], axes: Sequence[str], metric: Metric) -> Iterator[str]:
    """What was averaged and left out, and cautions about the means."""
    cells = [outcome.cell for outcome in matrix.outcomes]
    frame = matrix.frame[common(cells, axes)]
    if metric.timing:
        yield from suspects(frame)
    yield from coverage(cells, axes)
    differing: set[str] = set()
    for _, here in frame.groupby([*axes])["budget"]:
        budgets = [set(budget.split(", ")) for budget in here]
        differing |= set.union(*budgets) - set.intersection(*budgets) - {""}
    if differing:
        yield f"Cells within a mean also differ in {', '.join(sorted(differing))}."


SOFTWARE = {
    "pipeline_bench": "pipeline-bench",
    "commit": "commit",
    **{name: name for name in ("torch", "torchvision", "kornia", "dali", "timm", "cuda")},
    "python": "Python",
}
MAX_VERSIONS = 3


def versions(records: Iterable[RecordSummary]) -> str:
    """The software of the records: "pipeline-bench 0.1.0, commit 1a2b3c4, torch 2.11.0, ..."."""
    known = [record.environment for record in records]
    texts = []
    for name, label in SOFTWARE.items():
        values = sorted({str(value) for one in known if (value := one.get(name))})
        shown = [value[:7] if name == "commit" else value for value in values[:MAX_VERSIONS]]
        shown += [f"{len(values) - MAX_VERSIONS} more"] * (len(values) > MAX_VERSIONS)
        if shown:
            texts.append(f"{label} {' and '.join(shown)}")
    return ", ".join(texts)
