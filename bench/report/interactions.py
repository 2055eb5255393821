"""Where an effect depends on the cell: between nets, and in each matched cell by itself."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.intervals import (
    ALPHA,
    Between,
    Contrast,
    between_cells,
    between_seeds,
    holm,
    welch_p,
)
from bench.report.matching import Matched, difference, enough_seeds, is_finite
from bench.report.outcomes import ACCURACY, Metric

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


__all__ = ["CellByCell", "Interaction", "cell_by_cell", "interactions"]
