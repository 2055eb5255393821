"""Pareto fronts: accuracy against speed, time, memory and energy."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.columns import METRICS, SPEED, TRAIN, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, levels
from bench.report.figures.style import Outcomes
from bench.report.rows import Outcome
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED = 14  # cells of the front, the best accuracies first
AGAINST = (SPEED, TRAIN, METRICS["memory_gib"], METRICS["energy_j"])


@dataclass(frozen=True, kw_only=True)
class Point:
    """A cell by the two measures, in shown units."""

    outcome: Outcome[Record]
    x: float  # what accuracy is drawn against
    accuracy: float  # on the test set, in %
    trusted: bool  # whether `x` can be trusted; other cells are never on the front
    best: bool  # whether it is on the Pareto front


def frontiers(comparison: Comparison) -> Iterator[style.Sketch]:
    """Accuracy against each measure that two cells or more have."""
    for against in AGAINST:
        found = points(comparison.outcomes, against)
        if len(found) < 2:
            continue
        best = [point for point in found if point.best]
        markers = style.cycle(levels(comparison.outcomes, "architecture"), style.MARKERS)
        colours = style.cycle(levels(comparison.outcomes, "optimizer"), style.PALETTE)
        numbered = {
            f"{number}  {style.shown_name(point.outcome.label, 40)}: {point.accuracy:.2f} %, "
            f"{point.x:,.{against.decimals(point.x)}f}": style.gid([point.outcome])
            for number, point in enumerate(best[:MAX_NUMBERED], start=1)
        }
        hollow = sum(not point.trusted for point in found)
        yield comparison.sketch(
            f"accuracy_{against.name}",
            f"Accuracy against {against.label}",
            [
                f"Means over seeds; the line is the Pareto front of {count(len(best), 'cell')}"
                f"{', the most accurate numbered' if len(best) > len(numbered) else ''}.",
                hollow > 0
                and f"{hollow} hollow cells have suspect timings only: never on the line.",
            ],
            _frontier_figure(found, against, colours, markers),
            style.colour_key("optimizer", colours),
            style.Section(
                title="architecture",
                looks={net: {"marker": sign, "linestyle": "none"} for net, sign in markers.items()},
            ),
            style.Section(
                title=f"on the line: accuracy, {style.axis_label(against)}",
                looks={name: {"linestyle": "none"} for name in numbered},
                gids=numbered,
            ),
            outcomes=comparison.outcomes,
            timed=against.timing,
        )


def points(outcomes: Outcomes, against: Metric) -> list[Point]:
    """The cells that have both measures, the most accurate first."""
    rows = []
    for outcome in outcomes:
        usable, accuracy = outcome.usable(against), outcome.mean("accuracy")
        values = [value for run in usable or outcome.good if (value := against.of(run))]
        if values and accuracy is not None:
            x = statistics.fmean(values) * against.factor
            rows.append((100 * accuracy, x if against.higher else -x, bool(usable), outcome))
    rows.sort(key=lambda row: (-row[0], -row[1], row[3].label))
    rivals = [(accuracy, gain) for accuracy, gain, trusted, _ in rows if trusted]
    return [
        Point(
            outcome=outcome,
            x=abs(gain),
            accuracy=accuracy,
            trusted=trusted,
            best=trusted
            and not any(
                a >= accuracy and b >= gain and (a, b) != (accuracy, gain) for a, b in rivals
            ),
        )
        for accuracy, gain, trusted, outcome in rows
    ]


def _frontier_figure(
    found: Sequence[Point], against: Metric, colours: style.Levels, markers: style.Levels
) -> "Figure":
    figure, (axes,) = style.canvas(4.6, 3.2)
    for point in found:
        cell = point.outcome.cell
        size, alpha, order = (45, 1.0, 3) if point.best else (22, 0.5, 2)
        axes.scatter(
            [point.x], [point.accuracy], s=size, alpha=alpha, zorder=order, linewidths=1.0,
            marker=markers[cell.architecture], edgecolors=colours[cell.optimizer],
            facecolors=colours[cell.optimizer] if point.trusted else "none",
            gid=style.gid([point.outcome]),
        )  # fmt: skip
    best = [point for point in found if point.best]
    for number, point in enumerate(best[:MAX_NUMBERED]):
        axes.annotate(
            str(number + 1),
            (point.x, point.accuracy),
            xytext=(0, -12 if number % 2 else 5),  # alternating, so that neighbours don't overlap
            textcoords="offset points",
            ha="center",
            weight="bold",
            gid=style.gid([point.outcome]),
        )
    steps = sorted((point.x, point.accuracy) for point in best)
    where: Any = "pre" if against.higher else "post"  # what is possible with no loss of the other
    if steps:
        axes.step(*zip(*steps, strict=True), where=where, color=style.GREY, linewidth=1.0, zorder=1)
    axes.margins(x=0.08, y=0.1)
    style.log_scale(axes.xaxis)
    axes.set_xlabel(style.toward_better(style.axis_label(against), higher=against.higher))
    axes.set_ylabel(style.toward_better("test accuracy (%)", higher=True))
    return figure
