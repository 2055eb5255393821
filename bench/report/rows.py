"""Groups runs into rows of the matrix, and says which rows may be compared.

Runs share a row if cell, versions of its entries, images, machine and torch version are equal.
"""

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product, zip_longest
from typing import Any, Generic

from bench import naming
from bench.cell import (
    AXES,
    FIELDS,
    Cell,
    Version,
    fields_of,
    is_default,
    number_of,
    plugins_of,
    without_place,
)
from bench.record import Failure, RecordSummary, RecordT
from bench.report.columns import METRICS, TIME, Metric

PIPELINE_BOUND_PCT = 50.0
MODEL_BOUND_PCT = 10.0  # a stall below this is within the noise of a throughput
NUMBERS = re.compile(r"\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?)?")  # "2", "2 to 7"


@dataclass(frozen=True, kw_only=True)
class Key:
    """What runs of a row have in common."""

    cell: Cell
    versions: tuple[tuple[str, Version], ...]
    fingerprint: str
    machine: str
    torch: str
    differs: str = ""  # "kornia's own RandAugment", "reads an array": never ranked with others

    def parts(self) -> dict[str, str]:
        """Display texts of what may differ between rows of a table, except for the axes."""
        parts = self.cell.labels()
        parts |= {kind: f"{kind} v{number_of(version)}" for kind, version in self.versions}
        parts["plugins"] = ", ".join(plugins_of(dict(self.versions)))
        parts["fingerprint"] = f"images {self.fingerprint[:8]}"
        parts["machine"] = self.machine
        parts["differs"] = self.differs
        parts["torch"] = f"torch {self.torch}" if self.torch else ""
        return parts

    @property
    def footing(self) -> "Key":
        """Equal for cells whose results may be averaged."""
        names = fields_of("axis", "net", "recipe")
        return replace(self, cell=self.cell.without(*names), versions=())

    @property
    def conditions(self) -> "Key":
        """Equal for cells that may share a figure: budgets may differ too."""
        names = fields_of("axis", "net", "recipe", "budget")
        return replace(self, cell=self.cell.without(*names), versions=(), torch="")

    @property
    def ranking(self) -> "Key":
        """Equal for cells that may be ranked: axes, recipes and epochs may differ."""
        names = (*fields_of("axis", "recipe"), "epochs")
        return replace(self, cell=self.cell.without(*names), versions=())

    def matching(self, factor: str) -> "Key":
        """Equal for cells that differ only in `factor`.

        Architectures and optimizers are each compared with their own recipe and batch size.
        """
        names = {factor}
        if factor in ("architecture", "optimizer"):
            names |= set(fields_of("recipe"))
        versions = tuple((kind, number) for kind, number in self.versions if kind != factor)
        return replace(self, cell=self.cell.without(*names), versions=versions)


def grouped(records: Iterable[RecordT]) -> dict[Key, list[RecordT]]:
    """The runs of each row of the matrix."""
    found = list(records)
    machines = [machine for record in found if (machine := _machine(record))]
    torches = [str(torch) for record in found if (torch := record.environment.get("torch"))]
    usual_machine, usual_torch = statistics.mode(machines or [""]), statistics.mode(torches or [""])
    rows: dict[Key, list[RecordT]] = defaultdict(list)
    apart = ((one.cell.identity, one.own_ops or one.reading_note) for one in found)
    differs = {identity: text for identity, text in apart if text}
    spelled: dict[tuple[str, str], str] = {}  # the first spelling of a source of the same images
    for record in found:
        place = without_place(record.cell.source), record.fingerprint
        source = spelled.setdefault(place, record.cell.source)
        key = Key(
            cell=replace(record.cell.identity, source=source),
            versions=tuple(sorted(record.versions.items())),
            fingerprint=record.fingerprint,
            machine=_machine(record) or usual_machine,  # unknown for a run that never started
            torch=str(record.environment.get("torch") or usual_torch),
            differs=differs.get(record.cell.identity, ""),  # of its other runs if it failed early
        )
        rows[key].append(record)
    return {key: _once(runs) for key, runs in rows.items()}


def _once(runs: list[RecordT]) -> list[RecordT]:
    """The runs without those that were trained again on the same images in another place."""
    if len({run.cell.source for run in runs}) == 1:
        return runs
    by_worth = sorted(runs, key=lambda run: (run.status == "ok", run.finished))
    best = {run.seed: run for run in by_worth}
    return [run for run in runs if run.run_id == best[run.seed].run_id]


def _machine(record: RecordSummary) -> str:
    gpu, cpu = record.environment.get("gpu"), record.environment.get("cpu")
    if gpu or not cpu:
        return str(gpu or "")
    return f"{cpu}, {record.environment.get('cores')} cores"


def title(rows: Mapping[Key, Sequence[RecordSummary]]) -> str:
    """What all rows share: machine, scale, source, images, target, budget and torch version."""
    keys = list(rows)
    counts = {text for runs in rows.values() for run in runs if (text := run.image_counts)}
    parts, cell = [key.parts() for key in keys], keys[0].cell
    names = [
        name
        for name, info in sorted(FIELDS.items(), key=lambda item: item[1].title)
        if info.title and not (info.quiet and is_default(name, getattr(cell, name)))
    ]
    texts = [{one[name] for one in parts} for name in ("machine", "differs", *names)]
    texts += [counts, {one["torch"] for one in parts}]
    return " | ".join(text for shared in texts if len(shared) == 1 for text in shared if text)


def distinctions(keys: Sequence[Key], *, ignore: Collection[str] = ()) -> dict[Key, str]:
    """How each key differs from the others apart from the cell's name: "9 epochs, lr 0.1"."""
    parts = {key: key.parts() for key in keys}
    versions: dict[tuple[str, str], set[str]] = defaultdict(set)  # by entry
    for key, axis in product(keys, AXES):
        versions[axis, getattr(key.cell, axis)].add(parts[key].get(axis, ""))
    for key, axis in product(keys, AXES):
        if len(versions[axis, getattr(key.cell, axis)]) == 1:
            parts[key].pop(axis, None)
    return naming.distinctions({key: key.cell for key in keys}, parts, ignore=ignore)


def labels(names: Mapping[Key, str], *, ignore: Collection[str] = ()) -> dict[Key, str]:
    """The names; where keys share one, with how they differ in brackets."""
    apart = naming.told_apart(names, lambda same: distinctions(same, ignore=ignore))
    return {key: naming.bracketed(name, apart[key]) for key, name in names.items()}


def value_of(run: RecordSummary, metric: Metric) -> float | None:
    """A metric of a successful run, in the displayed unit; infinite for a missed target."""
    if metric.to_target and not run.seeks_target:
        return None
    value = metric.of(run)
    if value is None:
        return math.inf if metric.to_target else None
    if metric.ratio and value <= 0 and not metric.to_target:
        return None
    return value * metric.factor


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[RecordT]):
    """A cell and its runs: a row of the matrix."""

    key: Key
    runs: tuple[RecordT, ...]
    label: str  # its name, and how it differs from others of that name
    budget: str = ""  # how it differs from the other rows, apart from its name

    @property
    def id(self) -> str:
        """Identifies the row within a page: the first of its run ids."""
        return min(run.run_id for run in self.runs)

    @property
    def cell(self) -> Cell:
        """The cell, without the origin of its recipe."""
        return self.key.cell

    @cached_property
    def good(self) -> tuple[RecordT, ...]:
        """The successful runs."""
        return tuple(run for run in self.runs if run.status == "ok" and run.metrics is not None)

    @cached_property
    def trusted(self) -> tuple[RecordT, ...]:
        """The successful runs without suspect times."""
        return tuple(run for run in self.good if run.times_trusted)

    @property
    def suspect(self) -> int:
        """Number of successful runs with suspect times."""
        return len(self.good) - len(self.trusted)

    def usable(self, metric: Metric) -> tuple[RecordT, ...]:
        """The runs whose values of a metric can be trusted."""
        return self.trusted if metric.timing else self.good

    def values(self, metric: Metric) -> tuple[float, ...]:
        """The metric of each usable run; infinite for a missed target."""
        found = (value_of(run, metric) for run in self.usable(metric))
        return tuple(value for value in found if value is not None)

    @property
    def reached(self) -> int:
        """Runs that reached the target."""
        return sum(value_of(run, TIME) not in (None, math.inf) for run in self.good)

    @property
    def seeks_target(self) -> bool:
        """Whether reaching the target means something for all runs."""
        return all(run.seeks_target for run in self.runs)

    @property
    def with_target(self) -> int:
        """Number of runs with a target that means something."""
        return sum(run.seeks_target for run in self.good)

    def over_seeds(self, name: str) -> list[float]:
        """A metric of each usable run that has it, in the recorded unit."""
        metric = METRICS[name]
        found = (metric.of(run) for run in self.usable(metric))
        return [value for value in found if value is not None]

    def mean(self, name: str) -> float | None:
        """The mean of a metric over seeds, in the recorded unit."""
        value: float | None = self.row[name]
        return value

    @cached_property
    def row(self) -> dict[str, Any]:
        """The row of the matrix: mean and deviation of each metric, and texts."""
        row: dict[str, Any] = {"machine": self.key.machine}
        row |= {name: getattr(self.cell, name) for name in ("source", "scale", *AXES)}
        row |= {"cell": self.label, "budget": self.budget}
        row |= {"seeds": len(self.good), "runs": len(self.runs)}
        for name in METRICS:
            row[name], row[f"{name}_sd"] = _mean_and_sd(self.over_seeds(name))
        draws = [item for run in self.runs for item in run.augmentation_draws.items()]
        per_batch = ", ".join(dict.fromkeys(op for op, how in draws if how != "per sample"))
        suspect = (reason for run in self.good for reason in run.timing_suspect)
        failed = [run for run in self.runs if run.status != "ok" or run.metrics is None]
        return row | {
            "reached": self.reached if self.seeks_target else None,
            "trusted": len(self.trusted),
            "bound_by": bound_by(row["stall_pct"]),
            "reads": _joined(run.reads for run in self.good),
            "draws": per_batch and f"per batch: {per_batch}",
            "differs": _joined(
                filter(None, (run.op_differences or run.reading_note for run in self.runs))
            ),
            "timing_suspect": _joined(by_kind(suspect)),
            "status": _status(["ok"] * len(self.good) + [run.status for run in failed]),
            "reason": _joined(_reason(run.status, run.error) for run in failed if run.error),
            "parameters": next((run.parameters for run in self.runs if run.parameters), None),
        }


def bound_by(stall_pct: float | None) -> str:
    """What limits throughput, by the percentage of training time spent waiting for data."""
    if stall_pct is None:
        return ""
    if stall_pct < MODEL_BOUND_PCT:
        return "model"
    return "pipeline" if stall_pct >= PIPELINE_BOUND_PCT else "both"


def _mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, None
    # statistics.stdev calculates with fractions, which takes thirty times as long
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))


def _status(statuses: Iterable[str]) -> str:
    """The status if all have the same, else how many have which: "2 ok, 1 oom"."""
    counts = Counter(statuses)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def _reason(status: str, error: Failure) -> str:
    """The first line of the error; its type too unless the status says it."""
    first = (error.message.splitlines() or [""])[0]
    redundant = status == "skipped" or error.type.lower() == status
    return first if redundant else f"{error.type}: {first}"


def by_kind(texts: Iterable[str]) -> list[str]:
    """The texts; those that differ only in numbers become one: "used 2 to 7 % of the CPU"."""
    return list(dict.fromkeys(merged(texts).values()))


def merged(texts: Iterable[str]) -> dict[str, str]:
    """Each text with its replacement: the same for texts that differ only in numbers."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        kinds[NUMBERS.sub("", text)].append(text)
    found: dict[str, str] = {}
    for alike in kinds.values():
        found_at = zip(*map(NUMBERS.findall, alike), strict=True)
        numbers = [sorted(" to ".join(at).split(" to "), key=float) for at in found_at]
        ends = [dict.fromkeys((at[0], at[-1])) for at in numbers]
        words = zip_longest(NUMBERS.split(alike[0]), map(" to ".join, ends), fillvalue="")
        found |= dict.fromkeys(alike, "".join(chain.from_iterable(words)))
    return found


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
