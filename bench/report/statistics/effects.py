"""What each level of each factor did: against a reference, over cells that differ in nothing else.

An effect is the mean over matched cells, each weighing the same. Its interval is over the matched
cells where there are five or more, else over seeds where every side has five or more; with fewer
there is no claim. A time where one side missed the target has no ratio, but it counts: then ranks
decide, with a miss ranked after every time.

Where an effect depends on the cell: between nets, and in each matched cell by itself.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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
    ACCURACY,
    METRICS,
    TIME,
    Matched,
    Metric,
    difference,
    enough_seeds,
    is_finite,
    mean,
)

CELLS_NEEDED = 5

Over = Literal["matched cells", "seeds"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one level did to one figure.

    Args:
        cells: Matched cells with figures on both sides.
        runs: Runs behind them, of the level and of the reference.
        both: Matched cells that have a difference: for a time, both sides reached the target.
        estimate: Points of a percent, or a ratio; None where no matched cell has a difference.
        interval: Of the estimate; None for fewer than two differences.
        over: What the interval is over.
        enough: Whether there are enough cells or seeds for a claim.
        side: 1 higher, -1 lower, 0 cannot tell.
        reached: Runs that reached the target, of the level and of the reference.
    """

    factor: str
    level: str
    reference: str
    metric: Metric
    cells: int
    runs: tuple[int, int]
    both: int
    estimate: float | None
    interval: Interval | None
    over: Over
    enough: bool
    side: int
    reached: tuple[int, int] = (0, 0)


def effect(matched: Matched, level: str, metric: Metric) -> Effect | None:
    """What a level did to a figure; None where no matched cells have it on both sides."""
    found = [pair.contrast(metric) for pair in matched.pairs[level]]
    contrasts = [contrast for contrast in found if contrast is not None]
    if not contrasts:
        return None
    over, enough = _grounds(contrasts)
    differences = [difference(contrast, metric) for contrast in contrasts]
    known = [value for value in differences if math.isfinite(value)]
    if over == "seeds":
        whole = [one for one in contrasts if is_finite(one)]
        known = [difference(one, metric) for one in whole]
        interval = welch(whole)
    else:
        interval = student(known)
    middle = interval.middle if interval else (mean(known) if known else None)
    side = _side(contrasts, differences, interval, over) if enough else 0
    return Effect(
        factor=matched.factor,
        level=level,
        reference=matched.reference,
        metric=metric,
        cells=len(contrasts),
        runs=_totals([(len(one.level), len(one.reference)) for one in contrasts]),
        both=len(known),
        estimate=math.exp(middle) if middle is not None and metric.ratio else middle,
        interval=interval.as_ratio() if interval and metric.ratio else interval,
        over=over,
        enough=enough,
        side=side,
        reached=_totals([(_finite(one.level), _finite(one.reference)) for one in contrasts])
        if metric is TIME
        else (0, 0),
    )


def effects(matched: Matched) -> dict[str, list[Effect]]:
    """Those of each level, in the order of the metrics."""
    return {
        level: [
            found for metric in METRICS if (found := effect(matched, level, metric)) is not None
        ]
        for level in matched.pairs
    }


def _grounds(contrasts: Sequence[Contrast]) -> tuple[Over, bool]:
    """What an interval is over, and whether it may carry a claim."""
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


def _finite(values: Sequence[float]) -> int:
    return sum(map(math.isfinite, values))


def _totals(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(level for level, _ in pairs), sum(reference for _, reference in pairs)


SPARE_CELLS_NEEDED = 4  # above the number of nets, to know how much equal nets differ


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How the effect of a level on accuracy varies between nets.

    Args:
        nets: With their numbers of matched cells, in the order of `between.parts`.
        between: None where there are too few cells and seeds to tell.
        p: Corrected for the levels of the factor.
    """

    factor: str
    level: str
    reference: str
    nets: tuple[tuple[str, int], ...]
    between: Between | None
    p: float


@dataclass(frozen=True, kw_only=True)
class CellByCell:
    """A level against the reference in each matched cell, by Welch's test with Holm's correction.

    Args:
        higher: Labels of the cells where the level was higher.
        lower: Likewise.
        cannot_tell: Likewise.
        too_few: Matched cells where a side has too few seeds.
    """

    higher: tuple[str, ...]
    lower: tuple[str, ...]
    cannot_tell: tuple[str, ...]
    too_few: int


def interactions(matched: Matched) -> list[Interaction]:
    """How each level's effect on accuracy varies between nets; none where it met one net only."""
    found = []
    for level, pairs in matched.pairs.items():
        nets: dict[str, list[Contrast]] = defaultdict(list)
        for pair in pairs:
            contrast = pair.contrast(ACCURACY)
            if contrast is not None:
                nets[pair.level[0].cell.architecture].append(contrast)
        if len(nets) > 1:
            found.append((level, dict(sorted(nets.items())), _between(nets)))
    tested = iter(holm([between.p for _, _, between in found if between is not None]))
    return [
        Interaction(
            factor=matched.factor,
            level=level,
            reference=matched.reference,
            nets=tuple((name, len(contrasts)) for name, contrasts in nets.items()),
            between=between,
            p=1.0 if between is None else next(tested),
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
        higher=tuple(sides[1]), lower=tuple(sides[-1]), cannot_tell=tuple(sides[0]), too_few=too_few
    )
