"""Classes: which ones are confused, and how well each is recognised."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.figures.comparison import Case, Comparison, shown_name
from bench.report.figures.heatmaps import Tiles, draw_tiles
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
MAX_WITH_NUMBERS = 20
BEST_LENGTH = 64  # characters of a line of the key


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A confusion matrix over the seeds of a cell."""

    names: tuple[str, ...]  # of the classes shown
    counts: tuple[tuple[int, ...], ...]  # images; rows are true classes, columns predictions
    totals: tuple[int, ...]  # images of each true class, whatever was predicted
    classes: int  # in all

    def percent(self, row: int, column: int) -> float:
        """Share of a true class that was predicted as another."""
        return 100 * self.counts[row][column] / self.totals[row] if self.totals[row] else 0.0


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """F1 of one class."""

    name: str
    values: tuple[float, ...]  # of each cell, mean over its seeds
    best: float  # of the cell with the best accuracy


def classes(comparison: Comparison) -> Iterator[Sketch]:
    """Confusion of the most accurate and of the fastest cell, and F1 of each class."""
    cases = [case for case in comparison.cases if case.good]
    if not cases:
        return
    best = max(cases, key=lambda case: (case.mean("accuracy") or 0.0, case.label))
    yield from _confusion(comparison, best, "best", "the cell with the best test accuracy")
    timed = [
        case
        for case in cases
        if len(case.over_seeds("time_to_accuracy_s")) == len(case.runs) and not case.suspect
    ]
    fastest = min(
        timed, key=lambda case: (case.mean("time_to_accuracy_s") or 0.0, case.label), default=best
    )
    if fastest is not best:
        yield from _confusion(
            comparison, fastest, "quickest", "the cell that reached the target first"
        )
    if len(cases) > 1:
        yield from _spread(comparison, cases, best)


def confusion(case: Case) -> Confusion | None:
    """The sum over a cell's seeds; for many classes, those with the worst recall."""
    metrics = [run.metrics for run in case.good if run.metrics is not None]
    tables = [each.confusion for each in metrics if each.confusion]
    tables = [table for table in tables if len(table) == len(tables[0])]
    if not tables:
        return None
    every = range(len(tables[0]))
    total = [[sum(table[row][column] for table in tables) for column in every] for row in every]
    recall = [total[row][row] / (sum(total[row]) or 1) for row in every]
    kept = sorted(sorted(every, key=lambda row: recall[row])[:MAX_CLASSES])
    names = [score.name for score in metrics[0].per_class]
    return Confusion(
        names=tuple(names[row] for row in kept),
        counts=tuple(tuple(total[row][column] for column in kept) for row in kept),
        totals=tuple(sum(total[row]) for row in kept),
        classes=len(names),
    )


def _confusion(comparison: Comparison, case: Case, stem: str, what: str) -> Iterator[Sketch]:
    found = confusion(case)
    if found is None:
        return
    shown = len(found.names)
    part = ""
    if shown < found.classes:
        part = f" The {shown} of {found.classes} classes with the worst recall."
    yield Sketch(
        name=comparison.name(f"confusion_{stem}"),
        title=f"Confusion of {case.label}",
        caption=f"{what[0].upper()}{what[1:]}, {case.label}: % of each true class (row) that was "
        f"predicted as each class (column), test set, summed over seeds.{part} "
        f"{comparison.about([case])}",
        figure=_confusion_figure(found),
    )


def _confusion_figure(found: Confusion) -> "Figure":
    number = len(found.names)
    with_numbers = number <= MAX_WITH_NUMBERS
    tile_in = 0.36 if with_numbers else 0.17
    figure = new_figure(max(3.4, 1.5 + tile_in * number), max(2.4, 1.0 + tile_in * number))
    axes = figure.subplots()
    names = [f"{place}\0{name}" for place, name in enumerate(found.names)]  # two may be the same
    grid = Tiles(rows=tuple(names), columns=tuple(names), tiles={})
    percent = {
        (row, column): found.percent(i, j)
        for i, row in enumerate(names)
        for j, column in enumerate(names)
    }
    texts = {place: _percent(value) * with_numbers for place, value in percent.items()}
    draw_tiles(axes, grid, texts, {p: value / 100 for p, value in percent.items()})
    size = 8.0 if with_numbers else 6.0
    shown = [shown_name(name, 20) for name in found.names]
    axes.set_yticks(axes.get_yticks(), shown, size=size)
    axes.set_xticks(axes.get_xticks(), shown, size=size, rotation=50, ha="left")
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    return figure


def _percent(value: float) -> str:
    if value == 0:
        return ""
    return f"{value:.0f}" if value >= 1 else "<1"


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


def _spread(comparison: Comparison, cases: Sequence[Case], best: Case) -> Iterator[Sketch]:
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
        figure=_spread_figure(kept),
        sections=(Section(title="F1", entries=looks),),
    )


def _spread_figure(kept: Sequence[ClassScore]) -> "Figure":
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
