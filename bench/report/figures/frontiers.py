"""Frontiers (accuracy against throughput and time) and performance profiles.

A profile shows on what share of the problems an entry is within a factor of the best one, as
AlgoPerf scores (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), after Dolan and Moré.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.cell import AXES
from bench.report.columns import SPEED, TIME, TRAIN, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Case, Comparison, gid, levels
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NUMBERED = 14  # cells of the frontier, the best accuracies first
FACTORS = ("optimizer", "augmentation", "pipeline")
MIN_PROBLEMS = 2
FORMATS = {
    SPEED: ("training throughput (images/s)", "{:,.0f} images/s"),
    TRAIN: ("training clock (s)", "{:,.3g} s"),
}
"""What accuracy is drawn against: the title of the axis, and how a value is written."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cell by the two measures."""

    case: Case
    x: float  # what accuracy is drawn against
    accuracy: float  # on the test set, 0 to 1
    trusted: bool  # whether a run has times that can be trusted; a frontier takes no other cells
    best: bool = False  # whether no other cell is at least as good in both and better in one


def frontiers(comparison: Comparison) -> Iterator[style.Sketch]:
    """Both frontiers, if there are two cells or more."""
    for against, (axis, text) in FORMATS.items():
        found = spots(comparison.cases, against)
        if len(found) < 2:
            continue
        best = frontier(found, against)
        markers = style.cycle(levels(comparison.cases, "architecture"), style.MARKERS)
        colours = style.cycle(levels(comparison.cases, "optimizer"), style.PALETTE)
        looks = {net: {"marker": marker, "linestyle": "none"} for net, marker in markers.items()}
        names = [
            f"{number}  {style.shown_name(spot.case.label, 54)}: {spot.accuracy:.2%}, "
            + text.format(spot.x)
            for number, spot in enumerate(best[:MAX_NUMBERED], start=1)
        ]
        hollow = sum(not spot.trusted for spot in found)
        suspects = (
            f"Hollow, and never on the line: {hollow} of {count(len(found), 'cell')}, which have "
            "suspect timings only."
        )
        yield comparison.sketch(
            f"accuracy_{against.name}",
            f"Accuracy against {against.label}",
            [
                f"Test accuracy against {axis}, means over seeds; the line joins the "
                f"cells that no other beats in both ({len(best)}, the best numbered).",
                suspects if hollow else "",
            ],
            _frontier_figure(found, best, against, colours, markers),
            style.colour_key("optimizer", colours),
            style.Section(title="architecture", looks=looks, handle_in=0.14),
            style.Section(
                title="on the line",
                looks={name: {"linestyle": "none"} for name in names},
                handle_in=0,
                length=99,
                gids={n: gid([spot.case]) for n, spot in zip(names, best, strict=False)},
            ),
            cases=comparison.cases,
            timed=True,
        )


def spots(cases: Sequence[Case], against: Metric) -> list[Spot]:
    """The cells that have both measures, with the frontier marked."""
    found = []
    for case in cases:
        runs = case.trusted or case.good
        xs = [value for run in runs if (value := against.of(run)) is not None]
        x, accuracy = statistics.fmean(xs or [0.0]), case.mean("accuracy")
        if x > 0 and accuracy is not None:
            found.append(Spot(case=case, x=x, accuracy=accuracy, trusted=bool(case.trusted)))
    rivals = [spot for spot in found if spot.trusted]
    return [
        replace(spot, best=not any(_beats(other, spot, against) for other in rivals))
        if spot.trusted
        else spot
        for spot in found
    ]


def _beats(one: Spot, other: Spot, against: Metric) -> bool:
    sign = 1.0 if against.higher else -1.0
    gains = sign * (one.x - other.x), one.accuracy - other.accuracy
    return min(gains) >= 0 and max(gains) > 0


def frontier(found: Sequence[Spot], against: Metric) -> list[Spot]:
    """The cells on the frontier, the most accurate first."""
    sign = -1.0 if against.higher else 1.0
    return sorted(
        (spot for spot in found if spot.best),
        key=lambda spot: (-spot.accuracy, sign * spot.x, spot.case.label),
    )


def _frontier_figure(
    found: Sequence[Spot],
    best: Sequence[Spot],
    against: Metric,
    colours: Mapping[str, str],
    markers: Mapping[str, str],
) -> "Figure":
    figure, (axes,) = style.canvas(5.6, 3.6)
    for spot in found:
        cell = spot.case.cell
        axes.scatter(
            [spot.x],
            [100 * spot.accuracy],
            s=45 if spot.best else 22,
            marker=markers[cell.architecture],
            facecolors=colours[cell.optimizer] if spot.trusted else "none",
            edgecolors=colours[cell.optimizer],
            linewidths=1.0,
            alpha=1.0 if spot.best else 0.5,
            zorder=3 if spot.best else 2,
            gid=gid([spot.case]),
        )
    _draw_frontier(axes, best, against)
    axes.set_xscale("log")
    style.plain_log_ticks(axes.xaxis)
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel(style.toward_better(FORMATS[against][0], higher=against.higher))
    axes.set_ylabel(style.toward_better("test accuracy (%)", higher=True))
    axes.grid(visible=True)
    return figure


def _draw_frontier(axes: "Axes", best: Sequence[Spot], against: Metric) -> None:
    """Steps: what is possible at each place without giving up the other measure."""
    line = sorted(best, key=lambda spot: spot.x)
    axes.step(
        [spot.x for spot in line],
        [100 * spot.accuracy for spot in line],
        where="pre" if against.higher else "post",
        color=style.GREY,
        linewidth=1.0,
        zorder=1,
    )
    places: dict[tuple[float, float], list[tuple[int, Case]]] = {}
    for number, spot in enumerate(best[:MAX_NUMBERED], start=1):
        places.setdefault((spot.x, 100 * spot.accuracy), []).append((number, spot.case))
    for index, (place, here) in enumerate(places.items()):
        numbers = [number for number, _ in here]
        axes.annotate(
            str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}",
            place,
            xytext=(0, -12 if index % 2 else 5),  # alternating, so that neighbours don't overlap
            textcoords="offset points",
            ha="center",
            size=7.5,
            weight="bold",
            gid=gid(case for _, case in here),
        )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The ratios of one factor."""

    problems: int  # combinations of the other axes that have every level
    ratios: Mapping[str, Sequence[float]]  # level to its time over the best; infinite for a miss
    left_out: tuple[str, ...] = ()  # levels that too few problems have

    def share(self, level: str, tau: float) -> float:
        """Share of the problems on which a level is within `tau` of the best."""
        return sum(ratio <= tau for ratio in self.ratios[level]) / self.problems


def profiles(comparison: Comparison) -> Iterator[style.Sketch]:
    """A profile of each factor with two levels or more on the same problems."""
    cases = [case for case in comparison.cases if case.cell.holds_out]
    for factor in FACTORS:
        found = profile(cases, factor)
        if found is None:
            continue
        left_out = ", ".join(map(style.shown_name, found.left_out))
        others = " x ".join(axis for axis in AXES if axis != factor)
        colours = style.cycle(list(found.ratios), style.PALETTE)
        dashes = style.cycle(list(found.ratios), style.DASHES)
        looks = {one: {"color": colours[one], "linestyle": dashes[one]} for one in found.ratios}
        yield comparison.sketch(
            f"profile_{factor}",
            f"Performance profile of each {factor}",
            [
                f"Share of {count(found.problems, 'problem')} ({others}) on which time to "
                "accuracy, the median over seeds, is within τ of the best. A miss counts as "
                "infinite, so a line ends below 100 % by the share of misses.",
                f"Left out for lack of common problems: {left_out}." if left_out else "",
            ],
            _profile_figure(
                found,
                looks,
                {one: gid(c for c in cases if getattr(c.cell, factor) == one) for one in looks},
            ),
            style.Section(title=factor, looks=looks),
            cases=cases,
            timed=True,
        )


def profile(cases: Sequence[Case], factor: str) -> Profile | None:
    """The profile of a factor; None if nothing is comparable or nothing reached the target."""
    table: dict[tuple[str, ...], dict[str, float]] = {}
    for case in cases:
        problem = tuple(getattr(case.cell, axis) for axis in AXES if axis != factor)
        time_s, level = median_s(case), getattr(case.cell, factor)
        if time_s is not None:
            times = table.setdefault(problem, {})
            times[level] = min(time_s, times.get(level, math.inf))  # the best of several recipes
    every = levels(cases, factor)
    kept = common_levels([set(found) for found in table.values()], every)
    complete = [times for times in table.values() if set(kept) <= set(times)]
    best = [min(times[level] for level in kept) for times in complete]
    if len(kept) < 2 or len(complete) < MIN_PROBLEMS or all(map(math.isinf, best)):
        return None
    return Profile(
        problems=len(complete),
        ratios={
            level: [_ratio(times[level], top) for times, top in zip(complete, best, strict=True)]
            for level in kept
        },
        left_out=tuple(level for level in every if level not in kept),
    )


def _ratio(time_s: float, best_s: float) -> float:
    if math.isinf(time_s):
        return math.inf
    return time_s / best_s if best_s > 0 else 1.0


def median_s(case: Case) -> float | None:
    """Median time to accuracy; infinite for misses and failures, None if no run can be trusted."""
    failed = len(case.runs) - len(case.good)
    times = [*case.values(TIME), *[math.inf] * failed]
    return statistics.median(times) if times and not (case.good and not case.trusted) else None


def common_levels(problems: Sequence[set[str]], every: Sequence[str]) -> list[str]:
    """The levels to compare: the rarest are dropped as long as that gives more comparisons."""

    def comparisons(levels: Sequence[str]) -> int:
        return len(levels) * sum(set(levels) <= found for found in problems)

    best = kept = list(every)
    while len(kept) > 2:
        rarest = min(kept, key=lambda level: (sum(level in found for found in problems), level))
        kept = [level for level in kept if level != rarest]
        if comparisons(kept) > comparisons(best):
            best = kept
    return best


def _profile_figure(found: Profile, looks: style.Looks, gids: Mapping[str, str]) -> "Figure":
    figure, (axes,) = style.canvas(4.6, 2.7)
    finite = {level: [r for r in each if r < math.inf] for level, each in found.ratios.items()}
    end = max(1.5, max(ratio for each in finite.values() for ratio in each) * 1.1)
    for level, look in looks.items():
        steps = sorted({1.0, *finite[level], end})
        shares = [100 * found.share(level, tau) for tau in steps]
        axes.step(steps, shares, where="post", linewidth=1.6, gid=gids[level], **look)
    axes.set_xscale("log")
    axes.set_xlim(1, end)
    axes.set_ylim(-3, 103)
    style.plain_log_ticks(axes.xaxis)
    axes.set_xlabel(style.toward_better("τ: time to accuracy over that of the best", higher=False))
    axes.set_ylabel(style.toward_better(f"% of {count(found.problems, 'problem')}", higher=True))
    axes.grid(visible=True)
    return figure
