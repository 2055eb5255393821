"""Curves of all cells: a panel for each net, colours for optimizers, dashes for augmentations.

In a crowded panel the most accurate cells are in colour and the others thin and grey.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.record import Point
from bench.report.figures import style
from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 8_000  # in a figure; longer curves are thinned
MIN_POINTS = 24  # of a curve
LOG_RATIO = 20.0  # highest over lowest value from which an axis is logarithmic
CUT_RATIO = 1.5  # an axis of losses ends at that many times the usual highest value of a curve
MAX_LINES = 16  # of a panel that colours and dashes can tell apart
FOREMOST = 8  # of more
BEHIND = {"in a crowded panel": {"color": style.GREY, "linewidth": 0.8}}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a curve shows."""

    name: str  # in file names
    heading: str  # with the unit
    get: Callable[[Point], float | None]
    factor: float = 1.0  # from the record's unit to the shown one
    higher: bool = False  # whether more is better

    @property
    def title(self) -> str:
        """The heading with a capital letter."""
        return self.heading[0].upper() + self.heading[1:]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A cell's curve over its seeds, one value per epoch that all finished, and how it looks."""

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]  # training clock, mean over seeds
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    color: str = style.GREY
    linestyle: Any = "-"
    cell: str = ""  # its id
    behind: bool = True  # thin and without a band, in a crowded panel


QUANTITIES = (
    Quantity(
        name="accuracy",
        heading="validation accuracy (%)",
        get=lambda point: point.validation_accuracy,
        factor=100.0,
        higher=True,
    ),
    Quantity(
        name="validation_loss",
        heading="validation loss",
        get=lambda point: point.validation_loss,
    ),
    Quantity(name="training_loss", heading="training loss", get=lambda point: point.train_loss),
)
AGAINST = {"epochs": "epoch", "seconds": "training clock (s)"}


def curves(comparison: Comparison) -> Iterator[style.Sketch]:
    """Each quantity against epochs and against seconds."""
    cases = comparison.usual
    nets = by_accuracy(cases, "architecture")
    groups = {net: [case for case in cases if case.cell.architecture == net] for net in nets}
    for quantity in QUANTITIES:
        for against in AGAINST:
            yield from small_multiples(
                comparison,
                groups,
                quantity,
                against,
                factors=("optimizer", "augmentation"),
                name=f"curves_{quantity.name}_{against}",
                caption=f"{comparison.usual_text}, a panel for each architecture",
            )


def small_multiples(
    comparison: Comparison,
    groups: Mapping[str, Sequence[Case]],
    quantity: Quantity,
    against: str,
    *,
    factors: tuple[str, str],
    name: str,
    caption: str,
    title: str = "",
    more: str = "",
) -> Iterator[style.Sketch]:
    """A panel for each group of cells; nothing if no cell has a curve.

    Args:
        groups: Title of a panel to its cells.
        against: "epochs" or "seconds".
        factors: Axes of a cell that colours and dashes stand for.
        caption: What it says of the panels.
        title: Added to the figure's.
        more: What the caption says after that, about panels that are left out.
    """
    cases = [case for group in groups.values() for case in group]
    shown = [case for group in groups.values() for case in foremost(group)]
    colours, dashes = (
        style.cycle(levels(shown, factor), looks)
        for factor, looks in zip(factors, (style.PALETTE, style.DASHES), strict=True)
    )

    drawn: dict[str, list[Line]] = {}
    for panel, group in groups.items():
        front = {id(case) for case in foremost(group)}
        for case in sorted(group, key=lambda case: id(case) in front):  # grey ones first
            found = line(case, quantity, against)
            if found is not None and id(case) in front:
                color, dash = (getattr(case.cell, factor) for factor in factors)
                found = replace(found, color=colours[color], linestyle=dashes[dash], behind=False)
            if found is not None:
                drawn.setdefault(panel, []).append(found)
    every = [one for each in drawn.values() for one in each]
    if not every or max(len(one.epochs) for one in every) < 2:
        return
    missing = len(cases) - len(every)
    top = None if quantity.higher else cut(every)
    crowd = crowd_text(groups.values())
    yield comparison.sketch(
        name,
        f"{quantity.title} against {'epochs' if against == 'epochs' else 'training time'}{title}",
        [
            f"{quantity.title} {caption}; lines are means over seeds.",
            "Bands span the seeds." if any(len(case.good) > 1 for case in cases) else "",
            crowd,
            more,
            f"Higher values than {top:.3g} are cut off." if top is not None else "",
            f"{missing} of the cells have no curve." if missing else "",
        ],
        _figure(comparison, drawn, quantity, against, top),
        style.colour_key(factors[0], colours),
        style.Section(title=factors[1], looks={one: {"linestyle": d} for one, d in dashes.items()}),
        style.Section(title="the others", looks=BEHIND if crowd else {}, gids={}),
        cases=cases,
        timed=against == "seconds",
    )


def foremost(cases: Sequence[Case]) -> list[Case]:
    """The cells of a panel to draw in colour: all of a few, or the most accurate of many.

    By test accuracy whatever is drawn, so that all figures of a net show the same cells.
    """
    good = [case for case in cases if case.good]
    if len(good) <= MAX_LINES:
        return good
    return sorted(good, key=lambda case: (-(case.mean("accuracy") or 0.0), case.label))[:FOREMOST]


def crowd_text(groups: Iterable[Sequence[Case]]) -> str:
    """What a caption says about crowded panels; "" if there are none."""
    counts = [sum(bool(case.good) for case in cases) for cases in groups]
    behind = sum(number - FOREMOST for number in counts if number > MAX_LINES)
    if not behind:
        return ""
    return (
        f"In a panel of more than {MAX_LINES} cells, the {FOREMOST} with the best test accuracy "
        f"are in colour and the others ({behind} in all) thin and grey."
    )


def line(case: Case, quantity: Quantity, against: str = "epochs") -> Line | None:
    """The curve of a cell over its successful runs; None if there are none to draw."""
    by_seed = [
        {
            point.epoch: (point.train_s, value * quantity.factor)
            for point in run.curve
            if (value := quantity.get(point)) is not None
        }
        for run in (case.trusted if against == "seconds" else case.good)
    ]
    epochs = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    if not epochs:
        return None
    values = [[points[epoch][1] for points in by_seed] for epoch in epochs]
    return Line(
        epochs=tuple(epochs),
        seconds=tuple(sum(p[epoch][0] for p in by_seed) / len(by_seed) for epoch in epochs),
        mean=tuple(sum(each) / len(each) for each in values),
        low=tuple(map(min, values)),
        cell=case.id,
        high=tuple(map(max, values)),
    )


def cut(lines: Sequence[Line]) -> float | None:
    """Where an axis of losses ends, if a few curves that begin high would flatten the others."""
    tops = [max(line.high) for line in lines]
    top = CUT_RATIO * statistics.median_low(tops)
    return top if max(tops) > top else None


def thinned(length: int, most: int) -> list[int]:
    """At most that many places of a curve, evenly spread, including both ends."""
    if length <= most:
        return list(range(length))
    return [round(step * (length - 1) / (most - 1)) for step in range(most)]


def _figure(
    comparison: Comparison,
    drawn: Mapping[str, Sequence[Line]],
    quantity: Quantity,
    against: str,
    top: float | None,
) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    lines = [one for each in drawn.values() for one in each]
    most = max(MIN_POINTS, MAX_POINTS // len(lines))
    columns = min(len(drawn), 2 if len(drawn) <= 6 else 3)  # two side by side fit a telephone
    figure, grid = style.canvas(
        max(3.4, 2.65 * columns),
        0.3 + 1.85 * -(-len(drawn) // columns),
        panels=len(drawn),
        columns=columns,
        sharey=True,
        sharex=against == "epochs",
    )
    low, high = min(min(one.low) for one in lines), max(max(one.high) for one in lines)
    cell = comparison.cases[0].cell
    for axes, (title, each) in zip(grid, drawn.items(), strict=True):
        _draw(axes, each, against, most)
        axes.set_title(style.shown_name(title))
        axes.grid(visible=True)
        if quantity.name == "accuracy" and cell.holds_out:
            target = cell.target_accuracy * quantity.factor
            axes.axhline(target, color=style.GREY, linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epochs"))
    logarithmic = not quantity.higher and 0 < LOG_RATIO * low < (top or high)
    for place, axes in enumerate(grid):
        if logarithmic:
            axes.set_yscale("log")
        axes.autoscale_view()
        if against == "seconds":
            axes.set_xlim(left=0)
        if place % columns == 0:
            label = quantity.heading.partition(" ")[2]  # a panel is lower than the whole is long
            axes.set_ylabel(style.toward_better(label, higher=quantity.higher))
        if place + columns >= len(grid):  # nothing stands below
            axes.set_xlabel(AGAINST[against])
            axes.tick_params(labelbottom=True)
    if top is not None:
        grid[0].set_ylim(None if logarithmic else low - 0.05 * (top - low), top)
    if logarithmic:
        for axes in grid:
            style.plain_log_ticks(axes.yaxis)
    return figure


def _draw(axes: "Axes", curves: Sequence[Line], against: str, most: int) -> None:
    """All lines and bands of a panel in two collections: much faster than one by one."""
    from matplotlib.collections import LineCollection, PolyCollection

    lines, bands, band_colors, band_ids = [], [], [], []
    for curve in curves:
        places = thinned(len(curve.epochs), most)
        along = curve.epochs if against == "epochs" else curve.seconds
        lines.append([(along[place], curve.mean[place]) for place in places])
        if curve.low != curve.high and not curve.behind:
            low = [(along[place], curve.low[place]) for place in places]
            high = [(along[place], curve.high[place]) for place in places]
            bands.append(low + high[::-1])
            band_colors.append(curve.color)
            band_ids.append([curve.cell])
    if bands:
        axes.add_collection(
            PolyCollection(
                bands,
                facecolors=band_colors,
                alpha=0.15,
                linewidths=0,
                gid=style.each_gid(band_ids),
            ),
            autolim=True,
        )
    styles: dict[str, Any] = {
        "colors": [curve.color for curve in curves],
        "linestyles": [curve.linestyle for curve in curves],
        "gid": style.each_gid([curve.cell] for curve in curves),
        "linewidths": [0.4 if curve.behind else 1.2 for curve in curves],
    }
    axes.add_collection(LineCollection(lines, **styles), autolim=True)
