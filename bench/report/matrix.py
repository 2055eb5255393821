"""From records to the matrix: one row per cell, aggregated over seeds.

Records as they would be for another target: time to accuracy found anew in their curves.

The software that records were made with, in one line.

What a reader of the matrix must know before comparing its rows, a sentence each.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import pandas as pd

from bench.cell import AXES, Cell
from bench.record import Failure, Record, RecordSummary, RecordT, time_to_accuracy_s
from bench.report.render import TableError
from bench.report.rows import Key, budgets, differing_settings, grouped
from bench.report.statistics.outcomes import SEEDS_NEEDED

GROUP = ("machine", "source", "scale")
REMARKS = ("bound_by", "reads", "draws", "timing_suspect", "status", "reason")
MEASURES = (
    "accuracy",
    "one_view_accuracy",
    "macro_f1",
    "images_per_s",
    "stall_pct",
    "time_to_accuracy_s",
    "time_to_accuracy_with_compile_s",
    "train_s",
)
MODEL_BOUND_PCT = 10.0  # less is within the noise of a throughput
PIPELINE_BOUND_PCT = 50.0
HIGHER_IS_BETTER = frozenset({"accuracy", "one_view_accuracy", "macro_f1", "images_per_s", "seeds"})


@dataclass(frozen=True, kw_only=True)
class Matrix(Generic[RecordT]):
    """The matrix of one group.

    Args:
        title: Machine, scale, source and the budget that all cells share.
        frame: One row per cell. Every measure has a column of its mean over seeds and one of its
            standard deviation, which is missing for a single seed. Time to accuracy is the mean
            over the seeds that reached the target, `reached` of `seeds`.
        runs: The records of each row, in the order of the rows.
    """

    title: str
    frame: pd.DataFrame
    runs: tuple[tuple[RecordT, ...], ...]


def build(records: Iterable[RecordT], *, reference: bool = False) -> Matrix[RecordT]:
    """The matrix of one group's records, sorted by time to accuracy, then accuracy.

    Args:
        records: Of one machine, source and scale; anything that differs is said in the row.
        reference: Whether the repository ships them, which the title then says.
    """
    grouped_runs = grouped(records)
    common, differing = budgets(list(grouped_runs))
    recipes = differing_settings([key.cell for key in grouped_runs])
    rows = [
        _row(key, runs, ", ".join([*key.told(differing), *recipes[key.cell]]))
        for key, runs in grouped_runs.items()
    ]
    frame = pd.DataFrame(rows, columns=_columns()).astype(dict.fromkeys(_figures(), float))
    title = " | ".join((["reference"] if reference else []) + common)
    ordered = sort(frame.assign(place=range(len(frame))), "time_to_accuracy_s")
    runs = list(grouped_runs.values())
    return Matrix(
        title=title or "no records",
        runs=tuple(tuple(runs[place]) for place in ordered["place"]),
        frame=ordered.drop(columns="place"),
    )


def sort(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with the best first. A target that some or all seeds missed sorts after the others."""
    if column.startswith("time_to_accuracy"):
        order = pd.DataFrame(
            {
                "missed": _missed(frame),
                "time": frame[column],
                "accuracy": -frame["accuracy"],
                "name": frame[list(AXES)].agg("/".join, axis=1) if len(frame) else [],
            }
        )
        return frame.loc[order.sort_values(list(order.columns)).index].reset_index(drop=True)
    keys = [column, *(axis for axis in AXES if axis != column)]
    ascending = [column not in HIGHER_IS_BETTER, *([True] * (len(keys) - 1))]
    return frame.sort_values(keys, ascending=ascending, na_position="last", ignore_index=True)


def _missed(frame: pd.DataFrame) -> "pd.Series[int]":
    missed = pd.Series(1, index=frame.index)
    missed[frame["reached"] == frame["seeds"]] = 0
    missed[frame["seeds"] == 0] = 2
    return missed


def _columns() -> list[str]:
    figures = _figures()
    return [*GROUP, *AXES, "budget", "seeds", "runs", *figures, "reached", *REMARKS, "parameters"]


def _figures() -> list[str]:
    return [name for measure in MEASURES for name in (measure, f"{measure}_sd")]


def _row(key: Key, runs: Sequence[RecordSummary], budget: str) -> dict[str, Any]:
    good = [run for run in runs if run.status == "ok" and run.metrics is not None]
    row: dict[str, Any] = {axis: getattr(key.cell, axis) for axis in AXES}
    row |= {"machine": key.machine, "source": key.cell.source, "scale": key.cell.scale}
    row |= {"budget": budget, "seeds": len(good), "runs": len(runs)}
    measured = [measures(run) for run in good]
    for name in MEASURES:
        row[name], row[f"{name}_sd"] = _mean_and_sd([values[name] for values in measured])
    row["reached"] = _reached(key.cell, good)
    row["bound_by"] = bound_by(row["stall_pct"])
    row["reads"] = _joined(run.reads for run in good)
    row["parameters"] = next((run.parameters for run in runs if run.parameters), None)
    row["draws"] = _joined(
        f"per batch: {op}"
        for run in runs
        for op, draws in run.augmentation_draws.items()
        if draws != "per sample"
    )
    row["timing_suspect"] = _joined(reason for run in good for reason in run.timing_suspect)
    bad = [run for run in runs if run.status != "ok" or run.metrics is None]
    row["status"] = _status(len(good), bad)
    row["reason"] = _joined(_reason(run.status, run.error) for run in bad if run.error)
    return row


def bound_by(stall_pct: float | None) -> str:
    """What limits a cell's throughput, by the share of its time that the ceiling does not need."""
    if stall_pct is None:
        return ""
    if stall_pct < MODEL_BOUND_PCT:
        return "model"
    return "pipeline" if stall_pct >= PIPELINE_BOUND_PCT else "both"


def measures(run: RecordSummary) -> dict[str, float | None]:
    """What a run measured, by the columns of the matrix; None for what it has not."""
    metrics, throughput = run.metrics, run.throughput
    return {
        "accuracy": metrics.accuracy if metrics else None,
        "one_view_accuracy": metrics.one_view_accuracy if metrics else None,
        "macro_f1": metrics.macro_f1 if metrics else None,
        "images_per_s": throughput.median if throughput else None,
        "stall_pct": throughput.stall_pct if throughput else None,
        "time_to_accuracy_s": metrics.time_to_accuracy_s if metrics else None,
        "time_to_accuracy_with_compile_s": metrics.time_to_accuracy_with_compile_s
        if metrics
        else None,
        "train_s": run.timings.train_s,
    }


def _reached(cell: Cell, good: Sequence[RecordSummary]) -> int | None:
    """Seeds that reached the target; None where nothing was held out to see it by."""
    if not cell.holds_out:
        return None
    return sum(run.metrics is not None and run.metrics.time_to_accuracy_s is not None
               for run in good)  # fmt: skip


def _mean_and_sd(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    mean = statistics.fmean(known)
    if len(known) == 1:
        return mean, None
    # statistics.stdev reckons with fractions, which takes thirty times as long
    squares = math.fsum((value - mean) ** 2 for value in known)
    return mean, math.sqrt(squares / (len(known) - 1))


def _status(good: int, bad: Sequence[RecordSummary]) -> str:
    if not bad:
        return "ok"
    counts = Counter(run.status for run in bad)
    if not good and len(counts) == 1:
        return bad[0].status
    return ", ".join(
        ([f"{good} ok"] if good else []) + [f"{number} {name}" for name, number in counts.items()]
    )


def _reason(status: str, error: Failure) -> str:
    """The first line of what went wrong; its type where that tells more than the status."""
    first = (error.message.splitlines() or [""])[0]
    told = status == "skipped" or error.type.lower() == status
    return first if told else f"{error.type}: {first}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """Records for another target.

    Args:
        records: Of which no two are the same cell and seed.
        note: What was done, for the caption.
    """

    records: list[Record]
    note: str


def retarget(records: Iterable[Record], target: float) -> Retargeted:
    """The records with `target`, a validation accuracy in (0, 1], in place of their own.

    Runs that differed in nothing but the target would now count twice as one seed: the one that
    ended last stays, and the note says how many were left out.

    Raises:
        TableError: The target is no share in (0, 1].
    """
    if not 0 < target <= 1:
        raise TableError(f"--target is a share in (0, 1], as in 0.9 for 90 %, got {target:g}")
    found = list(records)
    kept: dict[tuple[Cell, object, int], Record] = {}
    for record in sorted(found, key=lambda record: (record.status == "ok", record.finished)):
        changed = _with(record, target)
        versions = tuple(sorted(record.versions.items()))
        kept[changed.cell.identity, (versions, record.fingerprint), record.seed] = changed
    own = sorted({record.cell.target_accuracy for record in found})
    note = (
        f"time to accuracy is found anew in the curves for {target:.1%} validation accuracy; "
        f"the runs were made with {', '.join(f'{one:.1%}' for one in own)}"
    )
    if left_out := len(found) - len(kept):
        note += f"; {left_out} runs that differed from others in their target only are left out"
    return Retargeted(records=list(kept.values()), note=note)


def _with(record: Record, target: float) -> Record:
    cell = replace(record.cell, target_accuracy=target)
    if record.metrics is None:
        return replace(record, cell=cell)
    reached_s = time_to_accuracy_s(record.curve, target)
    with_s = None if reached_s is None else reached_s + record.timings.once_s
    metrics = replace(
        record.metrics,
        time_to_accuracy_s=reached_s,
        time_to_accuracy_with_compile_s=with_s,
    )
    return replace(record, cell=cell, metrics=metrics)


NAMES = {"python": "Python", "pipeline_bench": "pipeline-bench"}
SOFTWARE = ("pipeline_bench", "torch", "torchvision", "kornia", "dali", "timm", "cuda", "python")


def versions(records: Iterable[RecordSummary]) -> str:
    """ "pipeline-bench 0.1.0 (commit 1a2b3c4), torch 2.11.0, ..."; several of one with "and"."""
    found = list(records)
    said = []
    for name in SOFTWARE:
        values = _values(found, name)
        if name == "pipeline_bench" and (commits := _values(found, "commit")):
            short = " and ".join(commit[:7] for commit in commits[:3])
            more = f" and {len(commits) - 3} more" if len(commits) > 3 else ""
            values = [
                *values[:-1],
                f"{values[-1] if values else ''} (commit {short}{more})".strip(),
            ]
        if values:
            said.append(f"{NAMES.get(name, name)} {' and '.join(values)}")
    return ", ".join(said)


def _values(records: list[RecordSummary], name: str) -> list[str]:
    values = {str(value) for record in records if (value := record.environment.get(name))}
    return sorted(values)


def cautions(frame: pd.DataFrame) -> Iterator[str]:
    """For the matrix of one group, where there is something to compare.

    Args:
        frame: As in `Matrix`.
    """
    good = frame[frame["seeds"] > 0]
    if len(good) < 2:
        return
    fewest = int(good["seeds"].min())
    if fewest < SEEDS_NEEDED:
        have = "one seed" if fewest == 1 else f"{fewest} seeds"
        whose = "each cell has" if good["seeds"].max() == fewest else "some cells have only"
        yield (
            f"Too few seeds to say that a cell is better than the next: {whose} {have}, a claim "
            f"needs {SEEDS_NEEDED} (--seeds {SEEDS_NEEDED})."
        )
    machines = good["machine"].unique()
    if len(machines) > 1:
        yield (
            f"Rows come from {len(machines)} machines: compare images/s and seconds only within "
            "one (the column budget names it)."
        )
    doubtful = int((good["timing_suspect"] != "").sum())
    if doubtful:
        whose = "One cell has" if doubtful == 1 else f"{doubtful} of {len(good)} cells have"
        yield (
            f"{whose} doubtful times, for the reasons in the notes: no time or speed of theirs is "
            "set in bold."
        )
