"""Performance profiles: on what share of the problems is an entry within a factor of the best?

As AlgoPerf scores (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), after Dolan and Moré.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cell import AXES
from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import Section, Sketch, colours, dashes, new_figure
from bench.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def sketches(comparison: Comparison) -> Iterator[Sketch]:
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
            figure=_figure(found),
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


def _figure(found: Profile) -> "Figure":
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
