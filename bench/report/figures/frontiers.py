"""Frontiers (accuracy against speed, time, memory, energy) and performance profiles.

A profile shows on what share of the problems an entry is within a factor of the best one, as
AlgoPerf scores (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), after Dolan and Moré.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.cell import AXES
from bench.record import Record
from bench.report.columns import METRICS, SPEED, TIME, TRAIN, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, by_axes, levels
from bench.report.figures.style import Outcomes
from bench.report.rows import Outcome
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED = 14  # cells of the frontier, the best accuracies first
FACTORS = ("optimizer", "augmentation", "pipeline")
MIN_PROBLEMS = 2
AGAINST = (SPEED, TRAIN, METRICS["memory_gib"], METRICS["energy_j"])


@dataclass(frozen=True, kw_only=True)
class Point:
    """A cell by the two measures, in shown units."""

    outcome: Outcome[Record]
    x: float  # what accuracy is drawn against
    accuracy: float  # on the test set, in %
    trusted: bool  # whether `x` can be; a frontier takes no other cells
    best: bool  # whether no other cell is at least as good in both and better in one


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
            f"{point.x:,.{against.digits}f}": style.gid([point.outcome])
            for number, point in enumerate(best[:MAX_NUMBERED], start=1)
        }
        hollow = sum(not point.trusted for point in found)
        yield comparison.sketch(
            f"accuracy_{against.name}",
            f"Accuracy against {against.label}",
            [
                f"Means over seeds; the line joins the {len(best)} that no other cell beats in "
                f"both{', the best numbered' if len(best) > len(numbered) else ''}.",
                hollow > 0
                and f"Hollow, and never on the line: {hollow} of {count(len(found), 'cell')}, "
                "which have suspect timings only.",
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
        axes.scatter(
            [point.x],
            [point.accuracy],
            s=45 if point.best else 22,
            marker=markers[cell.architecture],
            facecolors=colours[cell.optimizer] if point.trusted else "none",
            edgecolors=colours[cell.optimizer],
            linewidths=1.0,
            alpha=1.0 if point.best else 0.5,
            zorder=3 if point.best else 2,
            gid=style.gid([point.outcome]),
        )
    best = [point for point in found if point.best]
    for number, point in enumerate(best[:MAX_NUMBERED]):
        axes.annotate(
            str(number + 1),
            (point.x, point.accuracy),
            xytext=(0, -12 if number % 2 else 5),  # alternating, so that neighbours don't overlap
            textcoords="offset points",
            ha="center",
            size=7.5,
            weight="bold",
            gid=style.gid([point.outcome]),
        )
    steps = sorted((point.x, point.accuracy) for point in best)
    where: Any = "pre" if against.higher else "post"  # what is possible with no loss of the other
    axes.step(*zip(*steps, strict=True), where=where, color=style.GREY, linewidth=1.0, zorder=1)
    axes.margins(x=0.08, y=0.1)
    style.log_scale(axes.xaxis)
    axes.set_xlabel(style.toward_better(style.axis_label(against), higher=against.higher))
    axes.set_ylabel(style.toward_better("test accuracy (%)", higher=True))
    axes.grid(visible=True)
    return figure


def profiles(comparison: Comparison) -> Iterator[style.Sketch]:
    """A profile of each factor with two levels or more on the same problems."""
    outcomes = [outcome for outcome in comparison.outcomes if outcome.cell.holds_out]
    for factor in FACTORS:
        ratios = profile(outcomes, factor)
        if ratios is None:
            continue
        names = list(ratios.columns)
        left_out = [style.shown_name(one) for one in levels(outcomes, factor) if one not in names]
        colours = style.cycle(names, style.PALETTE)
        gids = {name: style.gid(each) for (name,), each in by_axes(outcomes, factor).items()}
        yield comparison.sketch(
            f"profile_{factor}",
            f"Performance profile of each {factor}",
            [
                f"Share of problems ({' x '.join(map(str, ratios.index.names))}) on which time to "
                "accuracy, the median over seeds, is within τ of the best; a miss is infinite.",
                left_out != [] and f"Left out for few common problems: {', '.join(left_out)}.",
            ],
            _profile_figure(ratios, colours, gids),
            style.colour_key(factor, colours),
            outcomes=outcomes,
            timed=True,
        )


def profile(outcomes: Outcomes, factor: str) -> pd.DataFrame | None:
    """Ratios to the best time, a row for each problem and a column for each level.

    None if nothing is comparable or nothing reached the target.
    """
    others = [axis for axis in AXES if axis != factor]
    rows = [
        {axis: getattr(outcome.cell, axis) for axis in AXES} | {"time_s": time_s}
        for outcome in outcomes
        if (time_s := median_s(outcome)) is not None
    ]
    if not rows:
        return None
    # the best of several recipes
    times = pd.DataFrame(rows).pivot_table("time_s", others, factor, aggfunc="min")
    counts = times.notna().sum()  # without the rarest levels there may be more comparisons
    tables = [times.loc[:, counts >= least].dropna() for least in sorted(set(counts))]
    times = max((each for each in tables if each.shape[1] > 1), key=np.size, default=times[:0])
    best = times.min(axis=1)
    if len(times) < MIN_PROBLEMS or not (best < math.inf).any():
        return None
    ratios = times.div(best.where(best > 0, 1.0), axis=0)
    return ratios.where(times < math.inf, math.inf)


def median_s(outcome: Outcome[Record]) -> float | None:
    """Median time to accuracy; infinite for misses and failures, None if no run can be trusted."""
    if outcome.good and not outcome.trusted:
        return None
    failed = len(outcome.runs) - len(outcome.good)
    times = [*outcome.values(TIME), *[math.inf] * failed]
    return statistics.median(times) if times else None


def _profile_figure(
    ratios: pd.DataFrame, colours: style.Levels, gids: Mapping[str, str]
) -> "Figure":
    figure, (axes,) = style.canvas(4.6, 2.7)
    finite = ratios.where(ratios < math.inf)
    end = max(1.5, float(np.nanmax(finite)) * 1.1)
    for level, color in colours.items():
        steps = sorted({1.0, *finite[level].dropna(), end})
        shares = [100 * (ratios[level] <= tau).mean() for tau in steps]
        axes.step(steps, shares, where="post", linewidth=1.6, color=color, gid=gids[level])
    axes.set(xlim=(1, end), ylim=(-3, 103))
    style.log_scale(axes.xaxis)
    axes.set_xlabel(style.toward_better("τ: time to accuracy over that of the best", higher=False))
    label = f"% of {count(len(ratios), 'problem')}"
    axes.set_ylabel(style.toward_better(label, higher=True))
    axes.grid(visible=True)
    return figure
