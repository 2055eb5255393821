"""`bench compare`: which matched cells of two sides differ by more than chance, and by how much.

A limit of `--fail-on` is broken where a test says that b is worse by more: in a cell, with Holm's
correction over the cells, or over all cells if there are enough nets or seeds.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.errors import UsageError
from bench.naming import Names
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from bench.report.compare.sides import Match, Side, differences, left_out, match_sides
from bench.report.compare.statistics import (
    BETTER,
    WORSE,
    Difference,
    corrected,
    on_same_images,
    over_cells,
    over_seeds,
)
from bench.report.statistics.effects import values_by_seed
from bench.report.statistics.intervals import ALPHA
from bench.text import count

METRICS = {metric.name: metric for metric in (SPEED, TRAIN, TIME, ACCURACY, MACRO_F1)}
SAME_TARGET = {"target_accuracy", "protocol"}  # must agree for times to accuracy
ALL_CELLS = "all cells together"
Found = list[Difference | None]  # of each cell
CEILING = replace(  # the same net fed one cached batch
    SPEED, name="ceiling", of=lambda run: run.throughput.ceiling if run.throughput else None
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much worse side b may be, and what the tests say of it."""

    text: str  # as typed
    metric: Metric
    null: float  # the greatest allowed b - a: a logarithm for ratios, else points
    broken: tuple[str, ...] = ()  # cells that are worse by more, and `ALL_CELLS`
    tested: int = 0
    too_few: int = 0  # cells with too few seeds for a test


@dataclass(frozen=True, kw_only=True)
class Row:
    """One matched cell, or all of them together."""

    label: str
    names: tuple[str, str] = ("", "")  # of the cell on both sides
    found: Mapping[str, Difference]  # by the metric's name; only metrics that both sides have
    judged: Difference | None  # by the metric that the verdicts are on
    images: Difference | None = None  # over the test images; None if that cannot be tested

    @property
    def verdict(self) -> str:
        """What the test over seeds says of side b."""
        return self.judged.verdict if self.judged else "no data"

    @property
    def is_sure(self) -> bool:
        """Whether a test, over seeds or images, says that the sides differ."""
        images = self.images.verdict if self.images else ""
        return not {self.verdict, images}.isdisjoint((*BETTER, *WORSE))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Side b against side a."""

    a: Side
    b: Side
    metric: Metric  # what the verdicts are on
    differences: tuple[str, ...]
    rows: tuple[Row, ...]  # the best for side b first
    overall: Row  # empty for one cell
    notes: tuple[str, ...]
    unmatched: Mapping[str, Sequence[str]]  # names of cells, as in `Matches`
    limits: tuple[Limit, ...]


def compare(a: Side, b: Side, metric: Metric, limits: Sequence[Limit] = ()) -> Comparison:
    """Matches the cells of two sides and tests them; UsageError without common cells or data."""
    matches = match_sides(a, b)
    cells, same_target = matches.cells, SAME_TARGET.isdisjoint(matches.compared)
    metrics = [each for each in METRICS.values() if same_target or not each.to_target]
    found = {each.name: corrected(_differences(cells, each)) for each in metrics}
    if not any(found.get(metric.name, ())):
        raise UsageError(_no_data(cells, metric, same_target))
    judged, (images, without) = found[metric.name], _over_images(cells, a, b)
    shown = Names(side.cell for cell in cells for side in cell)
    rows = [
        Row(
            label=cell.a.label,
            names=(shown(cell.a.cell.name, cell.a.cell), shown(cell.b.cell.name, cell.b.cell)),
            found={name: one for name, each in found.items() if (one := each[at])},
            judged=judged[at],
            images=images[at],
        )
        for at, cell in enumerate(cells)
    ]
    overall = {each.name: one for each in metrics if (one := over_cells(cells, each))}
    whole = f"all {len(cells)} cells"
    ceiling = _ceiling_note(judged, cells) if metric in (SPEED, TRAIN) else ""
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        differences=tuple(differences(matches)),
        rows=tuple(sorted(rows, key=_place)),
        overall=Row(label=whole, found=overall, judged=overall.get(metric.name)),
        notes=(*left_out(matches), *filter(None, (ceiling, without))),
        unmatched=matches.unmatched,
        limits=tuple(_tested(limit, cells) for limit in limits),
    )


def _place(row: Row) -> tuple[bool, float, str]:
    """The best for side b first, cells without a difference last."""
    found = row.judged
    if found is None or math.isnan(found.middle):
        return True, 0.0, row.label
    return False, -found.middle if found.metric.higher else found.middle, row.label


def _differences(cells: Sequence[Match], metric: Metric, null: float = 0.0) -> Found:
    """Of each cell; None if a side has no values."""
    values = [[values_by_seed([side], metric) for side in (cell.a, cell.b)] for cell in cells]
    return [over_seeds(a, b, metric, null) if a and b else None for a, b in values]


def _over_images(cells: Sequence[Match], a: Side, b: Side) -> tuple[Found, str]:
    """The tests over test images, and in which cells there is none and why."""
    found: Found = []
    reasons: Counter[str] = Counter()
    for cell in cells:
        kept = a.predictions(cell.a), b.predictions(cell.b)
        labels = [one.labels for side in kept for one in side]
        same_source = cell.a.key.fingerprint == cell.b.key.fingerprint
        found.append(None)
        if not all(kept):
            sides = [f"side {name}" for name, side in zip("ab", kept, strict=True) if not side]
            reasons[f"no predictions on {'sides a and b' if len(sides) > 1 else sides[0]}"] += 1
        elif same_source and all(np.array_equal(labels[0], other) for other in labels):
            found[-1] = on_same_images(*([one.right for one in side] for side in kept))
        else:
            reasons["different test images"] += 1
    why = ", ".join(f"{reason} in {count(n, 'cell')}" for reason, n in reasons.items())
    return corrected(found), f"No test over test images: {why}." if why else ""


def _tested(limit: Limit, cells: Sequence[Match]) -> Limit:
    """The limit, tested in each cell and over all of them."""
    found = _differences(cells, limit.metric, limit.null)
    every = corrected([*found, over_cells(cells, limit.metric, limit.null)])
    names = [*(cell.a.label for cell in cells), ALL_CELLS]
    tests = [(n, one.test) for n, one in zip(names, every, strict=True) if one and one.test]
    worse = -1 if limit.metric.higher else 1
    return replace(
        limit,
        broken=tuple(name for name, test in tests if test.side == worse and test.p < ALPHA),
        tested=len(tests),
        too_few=sum(one is not None and one.test is None for one in found),
    )


def _ceiling_note(judged: Sequence[Difference | None], cells: Sequence[Match]) -> str:
    """Whether cells that became faster or slower have a ceiling that changed the same way."""
    moved = same = 0
    for one, ceiling in zip(judged, _differences(cells, CEILING), strict=True):
        if one and one.verdict in (*BETTER, *WORSE):
            moved += 1
            same += ceiling is not None and ceiling.verdict == one.verdict
    if not same:
        return ""
    return (
        f"In {same} of {count(moved, 'cell')} that became faster or slower, the ceiling (the same "
        "net without waiting for data) changed the same way: the cause is the net, the software "
        "or the machine, not the pipeline alone."
    )


def _no_data(cells: Sequence[Match], metric: Metric, same_target: bool) -> str:
    sides = [side for cell in cells for side in cell]
    suspect, runs = sum(side.suspect for side in sides), sum(len(side.good) for side in sides)
    why = f"{suspect} of {runs} runs have suspect timings" if metric.timing else "runs failed"
    if metric.to_target and not same_target:
        why = "the sides have different targets or protocols"
    return (
        f"no matched cell has {metric.label} that can be compared ({why}): name another --metric, "
        "or run them again"
    )
