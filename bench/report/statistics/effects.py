"""The effect of each level of a factor against a reference, over cells that differ in nothing else.

An effect is the mean over matched cells, all with the same weight. Its interval is over the matched
cells if there are five or more, else over seeds if every side has five or more; with fewer there is
no claim. A time that one side did not reach has no ratio, but it counts: ranks then decide, and a
missed target ranks after every time.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.columns import ACCURACY, Metric
from bench.report.statistics.intervals import (
    ALPHA,
    Between,
    Contrast,
    Interval,
    between_cells,
    between_seeds,
    holm,
    rank_sum,
    signed_rank,
    student,
    welch,
    welch_p,
)
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    Matched,
    difference,
    enough_seeds,
    is_finite,
    mean,
)

CELLS_NEEDED = 5
SPARE_CELLS_NEEDED = 4  # beyond the number of nets, to estimate the variance within a net

Over = Literal["matched cells", "seeds"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one level on one metric; pairs are of the level and of the reference."""

    factor: str
    level: str
    reference: str
    metric: Metric
    cells: int  # matched cells with values on both sides
    runs: tuple[int, int]
    both: int  # matched cells with a difference: for a time, both sides reached the target
    estimate: float | None  # percentage points or a ratio
    interval: Interval | None  # None for fewer than two differences
    over: Over  # what the interval is over
    enough: bool  # whether there are enough cells or seeds for a claim
    side: int  # 1 higher, -1 lower, 0 if not significant
    reached: tuple[int, int]  # runs that reached the target


def effect(matched: Matched, level: str, metric: Metric) -> Effect | None:
    """The effect of a level on a metric; None if no matched cell has it on both sides."""
    found = [pair.contrast(metric) for pair in matched.pairs[level]]
    contrasts = [contrast for contrast in found if contrast is not None]
    if not contrasts:
        return None
    over, enough = _basis(contrasts)
    differences = [difference(contrast, metric) for contrast in contrasts]
    if over == "seeds":
        whole = [contrast for contrast in contrasts if is_finite(contrast)]
        known = [difference(contrast, metric) for contrast in whole]
        interval = welch(whole)
    else:
        known = [value for value in differences if math.isfinite(value)]
        interval = student(known)
    middle = interval.middle if interval else (mean(known) if known else None)
    sides = [(contrast.level, contrast.reference) for contrast in contrasts]
    return Effect(
        factor=matched.factor,
        level=level,
        reference=matched.reference,
        metric=metric,
        cells=len(contrasts),
        runs=(sum(len(level) for level, _ in sides), sum(len(other) for _, other in sides)),
        both=len(known),
        estimate=math.exp(middle) if middle is not None and metric.ratio else middle,
        interval=interval.as_ratio() if interval and metric.ratio else interval,
        over=over,
        enough=enough,
        side=_side(contrasts, differences, interval, over) if enough else 0,
        reached=(
            sum(math.isfinite(value) for level, _ in sides for value in level),
            sum(math.isfinite(value) for _, other in sides for value in other),
        ),
    )


def effects(matched: Matched) -> dict[str, list[Effect]]:
    """The effects of each level, in the order of the metrics."""
    return {
        level: [
            found
            for metric in EFFECT_METRICS
            if (found := effect(matched, level, metric)) is not None
        ]
        for level in matched.pairs
    }


def _basis(contrasts: Sequence[Contrast]) -> tuple[Over, bool]:
    """What an interval is over, and whether it allows a claim."""
    if len(contrasts) >= CELLS_NEEDED:
        return "matched cells", True
    if all(map(enough_seeds, contrasts)):
        return "seeds", True
    return "matched cells", False


def _side(
    contrasts: Sequence[Contrast],
    differences: Sequence[float],
    interval: Interval | None,
    over: Over,
) -> int:
    if over == "seeds" and not all(map(is_finite, contrasts)):
        score, p = rank_sum(contrasts)
        return (score > 0) - (score < 0) if p < ALPHA else 0
    if over == "matched cells" and any(map(math.isinf, differences)):
        side, p = signed_rank([0.0 if math.isnan(value) else value for value in differences])
        return side if p < ALPHA else 0
    return interval.side() if interval else 0


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How the effect of a level on accuracy varies between nets."""

    factor: str
    level: str
    reference: str
    nets: tuple[tuple[str, int], ...]  # names and matched cells, in the order of `between.parts`
    between: Between | None  # None if there are too few cells and seeds to tell
    p: float  # corrected for the levels of the factor


def interactions(matched: Matched) -> list[Interaction]:
    """How each level's effect on accuracy varies between nets; none for a level with one net."""
    found = []
    for level, pairs in matched.pairs.items():
        nets: dict[str, list[Contrast]] = defaultdict(list)
        for pair in pairs:
            contrast = pair.contrast(ACCURACY)
            if contrast is not None:
                nets[pair.level[0].cell.architecture].append(contrast)
        if len(nets) > 1:
            found.append((level, dict(sorted(nets.items())), _between(nets)))
    adjusted = iter(holm([between.p for _, _, between in found if between is not None]))
    return [
        Interaction(
            factor=matched.factor,
            level=level,
            reference=matched.reference,
            nets=tuple((name, len(contrasts)) for name, contrasts in nets.items()),
            between=between,
            p=1.0 if between is None else next(adjusted),
        )
        for level, nets, between in found
    ]


def _between(nets: Mapping[str, Sequence[Contrast]]) -> Between | None:
    parts = [contrasts for _, contrasts in sorted(nets.items())]
    if sum(map(len, parts)) - len(parts) >= SPARE_CELLS_NEEDED:
        return between_cells([[difference(one, ACCURACY) for one in part] for part in parts])
    if all(enough_seeds(one) for part in parts for one in part):
        return between_seeds(parts)
    return None


@dataclass(frozen=True, kw_only=True)
class CellByCell:
    """A level against the reference in each matched cell, by Welch's test with Holm's correction.

    Cells are given by their labels.
    """

    higher: tuple[str, ...]
    lower: tuple[str, ...]
    undecided: tuple[str, ...]  # no significant difference
    too_few: int  # matched cells where a side has too few seeds


def cell_by_cell(matched: Matched, level: str, metric: Metric) -> CellByCell:
    """A level against the reference in every matched cell with enough seeds."""
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    too_few = 0
    tested: list[tuple[str, Contrast]] = []
    for pair in matched.pairs[level]:
        contrast = pair.contrast(metric)
        if contrast is None:
            continue
        if not enough_seeds(contrast) or not is_finite(contrast):
            too_few += 1
            continue
        tested.append((pair.level[0].label, contrast))
    adjusted = holm([welch_p(contrast) for _, contrast in tested])
    for (label, contrast), p in zip(tested, adjusted, strict=True):
        change = difference(contrast, metric)
        sides[(change > 0) - (change < 0) if p < ALPHA else 0].append(label)
    return CellByCell(
        higher=tuple(sides[1]), lower=tuple(sides[-1]), undecided=tuple(sides[0]), too_few=too_few
    )
