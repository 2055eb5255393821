"""Frontiers (accuracy against throughput and time) and performance profiles.

A profile shows on what share of the problems an entry is within a factor of the best one, as
AlgoPerf scores (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), after Dolan and Moré.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.cell import AXES
from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import (
    DASHES,
    GREY,
    MARKERS,
    PALETTE,
    Section,
    Sketch,
    colour_key,
    cycle,
    new_figure,
    plain_log_ticks,
)
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_LENGTH = 76  # characters of a line of the key
MAX_NUMBERED = 14  # cells of the frontier, the best accuracies first
FACTORS = ("optimizer", "augmentation", "pipeline")
MIN_PROBLEMS = 2


@dataclass(frozen=True, kw_only=True)
class Against:
    """What accuracy is drawn against."""

    measure: str  # a column of the matrix
    title: str
    label: str  # of the axis
    lower: bool  # whether less is better
    form: str  # how a value is written


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cell by the two measures."""

    case: Case
    x: float  # what accuracy is drawn against
    accuracy: float  # on the test set, 0 to 1
    best: bool  # whether no other cell is at least as good in both and better in one


KINDS = (
    Against(
        measure="images_per_s",
        title="Accuracy against throughput",
        label="training throughput (images/s)",
        lower=False,
        form="{:,.0f} images/s",
    ),
    Against(
        measure="train_s",
        title="Accuracy against training time",
        label="training clock for all epochs (s)",
        lower=True,
        form="{:,.3g} s",
    ),
)


def frontiers(comparison: Comparison) -> Iterator[Sketch]:
    """Both frontiers, if there are two cells or more."""
    for against in KINDS:
        found = spots(comparison.cases, against)
        if len(found) < 2:
            continue
        best = frontier(found, against)
        markers = cycle(levels(comparison.cases, "architecture"), MARKERS)
        colours = cycle(levels(comparison.cases, "optimizer"), PALETTE)
        suspect = sum(spot.case.suspect for spot in found)
        hollow = ""
        if suspect:
            hollow = f" Hollow: {count(suspect, 'cell')} with suspect timings, never on the line."
        entries = tuple(
            (shown_name(net), {"marker": marker, "linestyle": "none"})
            for net, marker in markers.items()
        )
        yield Sketch(
            name=comparison.name(f"accuracy_{against.measure}"),
            title=against.title,
            caption=f"Test accuracy against {against.label}, means over seeds; the line joins the "
            f"cells that no other beats in both ({len(best)}, the best numbered).{hollow} "
            f"{comparison.about(comparison.cases)}",
            figure=_figure(found, best, against, colours, markers),
            sections=(
                colour_key("optimizer", colours),
                Section(title="architecture", entries=entries, handle_in=0.14),
                *_names(best, against),
            ),
        )


def spots(cases: Sequence[Case], against: Against) -> list[Spot]:
    """The cells that have both measures, with the frontier marked."""
    found = []
    for case in cases:
        x, accuracy = case.mean(against.measure), case.mean("accuracy")
        if x is not None and x > 0 and accuracy is not None:
            found.append((case, x, accuracy))
    rivals = [(x, accuracy) for case, x, accuracy in found if not case.suspect]
    return [
        Spot(
            case=case,
            x=x,
            accuracy=accuracy,
            best=not case.suspect
            and not any(_beats(other, (x, accuracy), against.lower) for other in rivals),
        )
        for case, x, accuracy in found
    ]


def _beats(one: tuple[float, float], other: tuple[float, float], lower: bool) -> bool:
    sign = -1.0 if lower else 1.0
    gains = sign * (one[0] - other[0]), one[1] - other[1]
    return min(gains) >= 0 and max(gains) > 0


def frontier(found: Sequence[Spot], against: Against) -> list[Spot]:
    """The cells on the frontier, the most accurate first."""
    sign = 1.0 if against.lower else -1.0
    return sorted(
        (spot for spot in found if spot.best),
        key=lambda spot: (-spot.accuracy, sign * spot.x, spot.case.label),
    )


def _names(best: Sequence[Spot], against: Against) -> Iterator[Section]:
    for number, spot in enumerate(best[:MAX_NUMBERED], start=1):
        values = f": {spot.accuracy:.2%}, {against.form.format(spot.x)}"
        text = f"{shown_name(spot.case.label, LINE_LENGTH - len(values))}{values}"
        yield Section(title=str(number), entries=((text, {"linestyle": "none"}),), handle_in=0.0)


def _figure(
    found: Sequence[Spot],
    best: Sequence[Spot],
    against: Against,
    colours: Mapping[str, str],
    markers: Mapping[str, str],
) -> "Figure":
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for net, marker in markers.items():
        for is_best in (False, True):
            chosen = [s for s in found if s.case.cell.architecture == net and s.best == is_best]
            own = [colours[spot.case.cell.optimizer] for spot in chosen]
            axes.scatter(
                [spot.x for spot in chosen],
                [100 * spot.accuracy for spot in chosen],
                s=45 if is_best else 22,
                marker=marker,
                facecolors=[
                    "none" if spot.case.suspect else colour
                    for spot, colour in zip(chosen, own, strict=True)
                ],
                edgecolors=own,
                linewidths=1.0,
                alpha=1.0 if is_best else 0.5,
                zorder=3 if is_best else 2,
            )
    _draw_frontier(axes, best, against)
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel(against.label)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(visible=True)
    return figure


def _draw_frontier(axes: "Axes", best: Sequence[Spot], against: Against) -> None:
    """Steps: what is possible at each place without giving up the other measure."""
    line = sorted(best, key=lambda spot: spot.x)
    axes.step(
        [spot.x for spot in line],
        [100 * spot.accuracy for spot in line],
        where="post" if against.lower else "pre",
        color=GREY,
        linewidth=1.0,
        zorder=1,
    )
    places: dict[tuple[float, float], list[str]] = {}
    for number, spot in enumerate(best[:MAX_NUMBERED], start=1):
        places.setdefault((spot.x, 100 * spot.accuracy), []).append(str(number))
    for index, (place, numbers) in enumerate(places.items()):
        axes.annotate(
            numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}",
            place,
            xytext=(0, -12 if index % 2 else 5),  # alternating, so that neighbours don't overlap
            textcoords="offset points",
            ha="center",
            size=7.5,
            weight="bold",
        )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The ratios of one factor."""

    factor: str  # an axis of a cell
    problems: int  # combinations of the other axes that have every level
    ratios: Mapping[str, Sequence[float]]  # level to its time over the best; infinite for a miss
    left_out: tuple[str, ...] = ()  # levels that too few problems have

    def share(self, level: str, tau: float) -> float:
        """Share of the problems on which a level is within `tau` of the best."""
        return sum(ratio <= tau for ratio in self.ratios[level]) / self.problems


def profiles(comparison: Comparison) -> Iterator[Sketch]:
    """A profile of each factor with two levels or more on the same problems."""
    cases = [case for case in comparison.cases if case.row["reached"] is not None]
    for factor in FACTORS:
        found = profile(cases, factor)
        if found is None:
            continue
        left_out = ", ".join(map(shown_name, found.left_out))
        missing = f" Left out for lack of common problems: {left_out}." if left_out else ""
        others = " x ".join(axis for axis in AXES if axis != factor)
        looks = {
            level: {"color": color, "linestyle": DASHES[number % len(DASHES)]}
            for number, (level, color) in enumerate(cycle(list(found.ratios), PALETTE).items())
        }
        entries = tuple((shown_name(level), look) for level, look in looks.items())
        yield Sketch(
            name=comparison.name(f"profile_{factor}"),
            title=f"Performance profile of each {factor}",
            caption=f"Share of {count(found.problems, 'problem')} ({others}) on which time to "
            "accuracy, the median over seeds, is within τ of the best. A miss counts as infinite, "
            f"so a line ends below 100 % by the share of misses.{missing} "
            f"{comparison.about(cases)}",
            figure=_profile_figure(found, looks),
            sections=(Section(title=factor, entries=entries),),
        )


def profile(cases: Sequence[Case], factor: str) -> Profile | None:
    """The profile of a factor; None if nothing is comparable or nothing reached the target."""
    table: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for case in cases:
        problem = tuple(getattr(case.cell, axis) for axis in AXES if axis != factor)
        times = table.setdefault(problem, {}).setdefault(getattr(case.cell, factor), [])
        times.append(median_s(case))
    every = levels(cases, factor)
    kept = common_levels([set(found) for found in table.values()], every)
    complete = [
        {level: min(found[level]) for level in kept}  # the best of several recipes
        for found in table.values()
        if set(kept) <= set(found)
    ]
    if len(kept) < 2 or len(complete) < MIN_PROBLEMS:
        return None
    best = [min(times.values()) for times in complete]
    if all(math.isinf(time_s) for time_s in best):
        return None
    return Profile(
        factor=factor,
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


def median_s(case: Case) -> float:
    """Median time to accuracy over all runs; a miss or a failure is infinite."""
    reached = case.over_seeds("time_to_accuracy_s")
    return statistics.median([*reached, *[math.inf] * (len(case.runs) - len(reached))])


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


def _profile_figure(found: Profile, looks: Mapping[str, dict[str, Any]]) -> "Figure":
    figure = new_figure(4.6, 2.7)
    axes = figure.subplots()
    finite = {level: [r for r in each if r < math.inf] for level, each in found.ratios.items()}
    end = max(1.5, max(ratio for each in finite.values() for ratio in each) * 1.1)
    for level, look in looks.items():
        steps = sorted({1.0, *finite[level], end})
        shares = [100 * found.share(level, tau) for tau in steps]
        axes.step(steps, shares, where="post", linewidth=1.6, **look)
    axes.set_xscale("log")
    axes.set_xlim(1, end)
    axes.set_ylim(-3, 103)
    plain_log_ticks(axes.xaxis)
    axes.set_xlabel("τ: time to accuracy over that of the best")
    axes.set_ylabel(f"% of {found.problems} problems")
    axes.grid(visible=True)
    return figure
