"""Curves of all cells: a panel for each net, colours for optimizers, dashes for augmentations.

In a crowded panel the most accurate cells are in colour and the others thin and grey.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record import Point
from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels, shown_name
from bench.report.figures.style import (
    DASHES,
    GREY,
    PALETTE,
    Section,
    Sketch,
    colour_key,
    cycle,
    new_figure,
    panels,
    plain_log_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 8_000  # in a figure; longer curves are thinned
MIN_POINTS = 24  # of a curve
LOG_RATIO = 20.0  # highest over lowest value from which an axis is logarithmic
MAX_LINES = 16  # of a panel that colours and dashes can tell apart
FOREMOST = 8  # of more

Factors = tuple[str, str]  # axes of a cell that colours and dashes stand for
Looks = tuple[dict[str, str], dict[str, Any]]  # entry to colour, entry to dashes


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a curve shows."""

    name: str  # in file names
    heading: str  # with the unit
    get: Callable[[Point], float | None]
    factor: float = 1.0  # from the record's unit to the shown one

    @property
    def title(self) -> str:
        """The heading with a capital letter."""
        return self.heading[0].upper() + self.heading[1:]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A cell's curve over its seeds: one value per epoch that all of them finished."""

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]  # training clock, mean over seeds
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line and how it looks."""

    line: Line
    color: str
    linestyle: Any
    behind: bool = False  # thin and grey, in a crowded panel


QUANTITIES = (
    Quantity(
        name="accuracy",
        heading="validation accuracy (%)",
        get=lambda point: point.validation_accuracy,
        factor=100.0,
    ),
    Quantity(
        name="validation_loss",
        heading="validation loss",
        get=lambda point: point.validation_loss,
    ),
    Quantity(name="training_loss", heading="training loss", get=lambda point: point.train_loss),
)
AGAINST = {"epochs": "epoch", "seconds": "training clock (s)"}


def curves(comparison: Comparison) -> Iterator[Sketch]:
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
                what=f"{comparison.usual_text}, a panel for each architecture",
            )


def small_multiples(
    comparison: Comparison,
    groups: Mapping[str, Sequence[Case]],
    quantity: Quantity,
    against: str,
    *,
    factors: Factors,
    name: str,
    what: str,
    more: str = "",
) -> Iterator[Sketch]:
    """A panel for each group of cells; nothing if no cell has a curve.

    Args:
        groups: Title of a panel to its cells.
        against: "epochs" or "seconds".
        what: What the caption says of the panels.
        more: What it says after that, about panels that are left out.
    """
    cases = [case for group in groups.values() for case in group]
    shown = [case for group in groups.values() for case in foremost(group)]
    looks = cycle(levels(shown, factors[0]), PALETTE), cycle(levels(shown, factors[1]), DASHES)
    drawn = {title: _curves(group, quantity, factors, looks) for title, group in groups.items()}
    drawn = {title: lines for title, lines in drawn.items() if lines}
    number = sum(map(len, drawn.values()))
    if not number or max(len(c.line.epochs) for lines in drawn.values() for c in lines) < 2:
        return
    missing = len(cases) - number
    missing_text = f" {missing} of the cells have no curve." if missing else ""
    band = " Bands span the seeds." if any(len(case.good) > 1 for case in cases) else ""
    crowd = crowd_text(groups.values())
    dash_entries = tuple((shown_name(one), {"linestyle": dash}) for one, dash in looks[1].items())
    grey = (("in a crowded panel", {"color": GREY, "linewidth": 0.8}),)
    yield Sketch(
        name=comparison.name(name),
        title=f"{quantity.title} against {'epochs' if against == 'epochs' else 'training seconds'}",
        caption=f"{quantity.title} {what}; lines are means over seeds.{band}{crowd}{more}"
        f"{missing_text} {comparison.about(cases)}",
        figure=_figure(comparison, drawn, quantity, against),
        sections=(
            colour_key(factors[0], looks[0]),
            Section(title=factors[1], entries=dash_entries),
            *([Section(title="the others", entries=grey)] if crowd else []),
        ),
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
        f" In a panel of more than {MAX_LINES} cells, the {FOREMOST} with the best test accuracy "
        f"are in colour and the others ({behind} in all) thin and grey."
    )


def _curves(
    cases: Sequence[Case], quantity: Quantity, factors: Factors, looks: Looks
) -> list[Curve]:
    """The lines of a panel, grey ones first."""
    found = []
    shown = {id(case) for case in foremost(cases)}
    for case in sorted(cases, key=lambda case: id(case) in shown):
        found_line = line(case, quantity)
        if found_line is None:
            continue
        if id(case) not in shown:
            found.append(Curve(line=found_line, color=GREY, linestyle="-", behind=True))
            continue
        color = looks[0][getattr(case.cell, factors[0])]
        style = looks[1][getattr(case.cell, factors[1])]
        found.append(Curve(line=found_line, color=color, linestyle=style))
    return found


def line(case: Case, quantity: Quantity) -> Line | None:
    """The curve of a cell over its successful runs; None if nothing was measured."""
    by_seed = [
        {
            point.epoch: (point.train_s, value * quantity.factor)
            for point in run.curve
            if (value := quantity.get(point)) is not None
        }
        for run in case.good
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
        high=tuple(map(max, values)),
    )


def thinned(length: int, most: int) -> list[int]:
    """At most that many places of a curve, evenly spread, including both ends."""
    if length <= most:
        return list(range(length))
    return [round(step * (length - 1) / (most - 1)) for step in range(most)]


def _figure(
    comparison: Comparison, drawn: Mapping[str, Sequence[Curve]], quantity: Quantity, against: str
) -> "Figure":
    lines = [curve.line for curves in drawn.values() for curve in curves]
    most = max(MIN_POINTS, MAX_POINTS // len(lines))
    columns = min(len(drawn), 2 if len(drawn) <= 6 else 3)  # two side by side fit a telephone
    figure = new_figure(max(3.4, 2.65 * columns), 0.3 + 1.85 * -(-len(drawn) // columns))
    grid = panels(figure, len(drawn), columns, sharey=True, sharex=against == "epochs")
    cell = comparison.cases[0].cell
    for axes, (title, curves) in zip(grid, drawn.items(), strict=True):
        _draw(axes, curves, against, most)
        axes.set_title(shown_name(title))
        axes.grid(visible=True)
        if quantity.name == "accuracy" and cell.protocol == "validation":
            target = cell.target_accuracy * quantity.factor
            axes.axhline(target, color=GREY, linewidth=0.8, linestyle=":")
    _scale(grid, lines, quantity, against)
    for place, axes in enumerate(grid):
        if place % columns == 0:
            axes.set_ylabel(quantity.heading)
        if place + columns >= len(grid):  # nothing stands below
            axes.set_xlabel(AGAINST[against])
            axes.tick_params(labelbottom=True)
    return figure


def _draw(axes: "Axes", curves: Sequence[Curve], against: str, most: int) -> None:
    """All lines and bands of a panel in two collections: much faster than one by one."""
    from matplotlib.collections import LineCollection, PolyCollection

    lines, bands, band_colors = [], [], []
    for curve in curves:
        line = curve.line
        places = thinned(len(line.epochs), most)
        along = line.epochs if against == "epochs" else line.seconds
        lines.append([(along[place], line.mean[place]) for place in places])
        if line.low != line.high and not curve.behind:
            low = [(along[place], line.low[place]) for place in places]
            high = [(along[place], line.high[place]) for place in places]
            bands.append(low + high[::-1])
            band_colors.append(curve.color)
    if bands:
        axes.add_collection(
            PolyCollection(bands, facecolors=band_colors, alpha=0.15, linewidths=0), autolim=True
        )
    colors, styles = [curve.color for curve in curves], [curve.linestyle for curve in curves]
    widths = [0.4 if curve.behind else 1.2 for curve in curves]
    axes.add_collection(
        LineCollection(lines, colors=colors, linestyles=styles, linewidths=widths), autolim=True
    )


def _scale(grid: "Sequence[Axes]", lines: Sequence[Line], quantity: Quantity, against: str) -> None:
    from matplotlib.ticker import MaxNLocator

    low = min(min(line.low) for line in lines)
    high = max(max(line.high) for line in lines)
    for axes in grid:
        if quantity.name != "accuracy" and low > 0 and high > LOG_RATIO * low:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epochs"))
        axes.autoscale_view()
        if axes.get_yscale() == "log":
            plain_log_ticks(axes.yaxis)
        if against == "seconds":
            axes.set_xlim(left=0)
