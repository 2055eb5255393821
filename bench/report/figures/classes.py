"""F1 of each class over all cells."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.figures.comparison import Case, Comparison, shown_name
from bench.report.figures.style import (
    FOREGROUND,
    PALETTE,
    Section,
    Sketch,
    name_rows,
    new_figure,
)
from bench.report.loaders import quartiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 40  # in a figure: the worst ones
BEST_LENGTH = 64  # characters of a line of the key


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """F1 of one class."""

    name: str
    values: tuple[float, ...]  # of each cell, mean over its seeds
    best: float  # of the cell with the best accuracy


def classes(comparison: Comparison) -> Iterator[Sketch]:
    """The spread of each class over the cells, if there are several."""
    cases = [case for case in comparison.cases if case.good]
    if len(cases) < 2:
        return
    best = max(cases, key=lambda case: (case.mean("accuracy") or 0.0, case.label))
    found = class_scores(cases, best)
    if len(found) < 2:
        return
    kept = found[:MAX_CLASSES]
    part = f" The {len(kept)} worst of {len(found)}." if len(kept) < len(found) else ""
    looks = (
        ("all cells", {"color": PALETTE[1], "linewidth": 1}),
        ("middle half", {"color": PALETTE[1], "linewidth": 5}),
        ("median", {"marker": "|", "linestyle": "none", "markeredgewidth": 2, "markersize": 9}),
        (
            shown_name(f"best: {best.label}", BEST_LENGTH),
            {"color": PALETTE[0], "marker": "o", "linestyle": "none"},
        ),
    )
    yield Sketch(
        name=comparison.name("class_f1_spread"),
        title="F1 of each class over all cells",
        caption="F1 of each class on the test set: from the worst cell to the best, the middle "
        f"half of the cells, their median, and the cell with the best accuracy, {best.label}."
        f"{part} {comparison.about(cases)}",
        figure=_figure(kept),
        sections=(Section(title="F1", entries=looks),),
    )


def class_scores(cases: Sequence[Case], best: Case) -> list[ClassScore]:
    """Classes with their F1 in every cell, the worst class first."""
    names = [score.name for score in best.good[0].metrics.per_class]  # type: ignore[union-attr]
    every, own = [_f1(case) for case in cases], _f1(best)
    found = [
        ClassScore(name=name, values=tuple(scores[place] for scores in every), best=own[place])
        for place, name in enumerate(names)
    ]
    return sorted(found, key=lambda score: (statistics.median(score.values), score.name))


def _f1(case: Case) -> list[float]:
    """F1 of each class, mean over the seeds of a cell."""
    metrics = [run.metrics for run in case.good if run.metrics is not None]
    each = [[score.f1 for score in one.per_class] for one in metrics]
    return [statistics.fmean(values) for values in zip(*each, strict=True)]


def _figure(kept: Sequence[ClassScore]) -> "Figure":
    figure = new_figure(5.4, 0.6 + 0.22 * len(kept))
    axes = figure.subplots()
    for row, score in enumerate(kept):
        values = [100 * value for value in score.values]
        low, middle, high = quartiles(values)
        bar: dict[str, Any] = {"color": PALETTE[1], "alpha": 0.8}
        axes.plot([min(values), max(values)], [row, row], linewidth=1, **bar)
        axes.plot([low, high], [row, row], linewidth=5, solid_capstyle="butt", **bar)
        axes.plot([middle], [row], marker="|", color=FOREGROUND, markersize=9, markeredgewidth=2)
        axes.plot([100 * score.best], [row], marker="o", color=PALETTE[0], markersize=4.5)
    name_rows(axes, [shown_name(score.name, 24) for score in kept])
    axes.set_xlabel("F1 (%)")
    return figure
