"""Accuracy against throughput and against time: which cells nothing else beats in both.

Performance profiles: on what share of the problems is an entry within a factor of the best?

As AlgoPerf scores (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), after Dolan and Moré.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.cell import AXES
from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import (
    PALETTE,
    Section,
    Sketch,
    colour_key,
    colours,
    dashes,
    marker_key,
    markers,
    new_figure,
    plain_log_ticks,
)
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_LENGTH = 76  # letters of a line of the key
MOST_NAMED = 14  # of the frontier, best accuracies first


@dataclass(frozen=True, kw_only=True)
class Against:
    """What accuracy is drawn against.

    Args:
        measure: A column of the matrix.
        title: Of the picture.
        label: Of the axis.
        lower: Whether less is better.
        form: How a value is written.
    """

    measure: str
    title: str
    label: str
    lower: bool
    form: str


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cell by the two measures.

    Args:
        case: The cell.
        x: The measure that accuracy is drawn against.
        accuracy: On the test set, 0 to 1.
        best: Whether no other cell is at least as good in both and better in one.
    """

    case: Case
    x: float
    accuracy: float
    best: bool


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


def frontier_sketches(comparison: Comparison) -> Iterator[Sketch]:
    """Both frontiers, where there are two cells or more."""
    for against in KINDS:
        found = spots(comparison.cases, against)
        if len(found) < 2:
            continue
        named = frontier(found, against)
        nets = levels(comparison.cases, "architecture")
        optimizers = levels(comparison.cases, "optimizer")
        suspect = sum(spot.case.suspect for spot in found)
        hollow = (
            f" {count(suspect, 'cell')} with a suspect timing, hollow, cannot be on it."
            if suspect
            else ""
        )
        yield Sketch(
            name=comparison.name(f"accuracy_{against.measure}"),
            title=against.title,
            caption=f"Test accuracy against {against.label}, means over seeds; the line joins the "
            f"cells that no other beats in both ({len(named)}, the best numbered).{hollow} "
            f"{comparison.about(comparison.cases)}",
            figure=_figure(found, named, against, colours(optimizers), markers(nets)),
            sections=(
                colour_key("optimizer", colours(optimizers)),
                marker_key("architecture", markers(nets)),
                *_names(named, against),
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


def _names(named: Sequence[Spot], against: Against) -> Iterator[Section]:
    """The frontier as lines of the key."""
    for number, spot in enumerate(named[:MOST_NAMED], start=1):
        figures = f": {spot.accuracy:.2%}, {against.form.format(spot.x)}"
        text = f"{shown_name(spot.case.label, NAMED_LENGTH - len(figures))}{figures}"
        yield Section(title=str(number), entries=((text, {"linestyle": "none"}),), handle_in=0.0)


def _figure(
    found: Sequence[Spot],
    named: Sequence[Spot],
    against: Against,
    color: dict[str, str],
    marker: dict[str, str],
) -> Any:
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for net, sign in marker.items():
        for best in (False, True):
            chosen = [s for s in found if s.case.cell.architecture == net and s.best == best]
            own = [color[spot.case.cell.optimizer] for spot in chosen]
            axes.scatter(
                [spot.x for spot in chosen],
                [100 * spot.accuracy for spot in chosen],
                s=45 if best else 22,
                marker=sign,
                facecolors=[
                    "none" if spot.case.suspect else look
                    for spot, look in zip(chosen, own, strict=True)
                ],
                edgecolors=own,
                linewidths=1.0,
                alpha=1.0 if best else 0.5,
                zorder=3 if best else 2,
            )
    _draw_frontier(axes, named, against)
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel(against.label)
    axes.set_ylabel("test accuracy (%)")
    axes.grid(visible=True)
    return figure


def _draw_frontier(axes: "Axes", named: Sequence[Spot], against: Against) -> None:
    """A stair: what can be had at each place without giving up the other measure."""
    line = sorted(named, key=lambda spot: spot.x)
    axes.step(
        [spot.x for spot in line],
        [100 * spot.accuracy for spot in line],
        where="post" if against.lower else "pre",
        color=PALETTE[7],
        linewidth=1.0,
        zorder=1,
    )
    places: dict[tuple[float, float], list[str]] = {}
    for number, spot in enumerate(named[:MOST_NAMED], start=1):
        places.setdefault((spot.x, 100 * spot.accuracy), []).append(str(number))
    for index, (place, numbers) in enumerate(places.items()):
        axes.annotate(
            numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}",
            place,
            xytext=(0, -12 if index % 2 else 5),  # neighbours keep out of each other's way
            textcoords="offset points",
            ha="center",
            size=7.5,
            weight="bold",
        )


FACTORS = ("optimizer", "augmentation", "pipeline")
LEAST_PROBLEMS = 2

Problem = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The ratios of one factor.

    Args:
        factor: An axis of a cell.
        problems: How many: combinations of the other axes that have every level.
        ratios: Level to its time over the best of each problem; infinite for a miss.
        left_out: Levels that too few problems have.
    """

    factor: str
    problems: int
    ratios: Mapping[str, Sequence[float]]
    left_out: tuple[str, ...] = ()

    def share(self, level: str, tau: float) -> float:
        """Share of the problems on which a level is within `tau` of the best."""
        return sum(ratio <= tau for ratio in self.ratios[level]) / self.problems


def profile_sketches(comparison: Comparison) -> Iterator[Sketch]:
    """A picture for each factor with two levels or more on the same problems."""
    cases = [case for case in comparison.cases if case.row["reached"] is not None]
    for factor in FACTORS:
        found = profile(cases, factor)
        if found is None:
            continue
        out = ", ".join(map(shown_name, found.left_out))
        missing = f" Left out, for want of common problems: {out}." if out else ""
        others = " x ".join(axis for axis in AXES if axis != factor)
        yield Sketch(
            name=comparison.name(f"profile_{factor}"),
            title=f"Performance profile of each {factor}",
            caption=f"Share of {count(found.problems, 'problem')} ({others}) on which time to "
            "accuracy, the median over seeds, is within τ of the best one's; a miss counts as "
            f"infinite, so that a line ends below 100 % by as much as was missed.{missing} "
            f"{comparison.about(cases)}",
            figure=_profiles_figure(found),
            sections=(_key(found),),
        )


def profile(cases: Sequence[Case], factor: str) -> Profile | None:
    """The profile of a factor; None where nothing can be compared or nothing reached the target."""
    table: dict[Problem, dict[str, list[float]]] = {}
    for case in cases:
        problem = tuple(getattr(case.cell, axis) for axis in AXES if axis != factor)
        times = table.setdefault(problem, {}).setdefault(getattr(case.cell, factor), [])
        times.append(median_s(case))
    every = levels(cases, factor)
    kept = common_levels([set(found) for found in table.values()], every)
    complete = [
        {level: min(found[level]) for level in kept}  # several recipes: the best of them
        for found in table.values()
        if set(kept) <= set(found)
    ]
    if len(kept) < 2 or len(complete) < LEAST_PROBLEMS:
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
    """Median time to accuracy over all runs, a run that missed or failed being infinite."""
    reached = case.over_seeds("time_to_accuracy_s")
    return statistics.median([*reached, *[math.inf] * (len(case.runs) - len(reached))])


def common_levels(problems: Sequence[set[str]], every: Sequence[str]) -> list[str]:
    """The levels to compare: the rarest are dropped while that gives more comparisons."""
    kept = list(every)

    def comparisons(chosen: Sequence[str]) -> int:
        return len(chosen) * sum(set(chosen) <= found for found in problems)

    best = kept
    while len(kept) > 2:
        rarest = min(kept, key=lambda level: (sum(level in found for found in problems), level))
        kept = [level for level in kept if level != rarest]
        if comparisons(kept) > comparisons(best):
            best = kept
    return best


def _profiles_figure(found: Profile) -> "Figure":
    figure = new_figure(4.6, 2.7)
    axes = figure.subplots()
    finite = [ratio for ratios in found.ratios.values() for ratio in ratios if ratio < math.inf]
    end = max(1.5, max(finite) * 1.1)
    order = list(found.ratios)
    color, style = colours(order), dashes(order)
    for level in order:
        steps = sorted({1.0, *(ratio for ratio in found.ratios[level] if ratio < math.inf), end})
        axes.step(
            steps,
            [100 * found.share(level, tau) for tau in steps],
            where="post",
            color=color[level],
            linestyle=style[level],
            linewidth=1.6,
        )
    _label(axes, end, found)
    return figure


def _label(axes: "Axes", end: float, found: Profile) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_xlim(1, end)
    axes.set_ylim(-3, 103)
    fine = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0) if end < 8 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=fine))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("τ: time to accuracy over that of the best")
    axes.set_ylabel(f"% of {found.problems} problems")
    axes.grid(visible=True)


def _key(found: Profile) -> Section:
    order = list(found.ratios)
    color, style = colours(order), dashes(order)
    entries = tuple(
        (shown_name(level), {"color": color[level], "linestyle": style[level]}) for level in order
    )
    return Section(title=found.factor, entries=entries)
