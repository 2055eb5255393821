"""Curves of all cells: a panel for each net, colours for optimizers, dashes for augmentations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record import Point
from bench.report.figures import style as crowds
from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels, shown_name
from bench.report.figures.style import (
    PALETTE,
    Margins,
    Sketch,
    colour_key,
    colours,
    dash_key,
    dashes,
    label_panels,
    new_figure,
    panels,
    plain_log_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_DRAWN = 8_000  # in a picture; longer curves are thinned
LEAST_POINTS = 24  # of a curve
STEEP = 20.0  # highest over lowest, from which on an axis is logarithmic

Get = Callable[[Point], float | None]
Looks = tuple[dict[str, str], dict[str, Any]]  # entry to colour, entry to dashes


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a curve shows.

    Args:
        name: Of its files.
        heading: As people read it, with the unit.
        get: From a point of a record.
        factor: From the record's unit to the one shown.
    """

    name: str
    heading: str
    get: Get
    factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A cell's curve over its seeds, one number for each epoch that all of them finished.

    Args:
        epochs: Their numbers.
        seconds: Training clock, mean over seeds.
        mean: Over seeds.
        low: Least of the seeds.
        high: Most of the seeds.
    """

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line with how it looks; `behind` where it is one of a crowd."""

    line: Line
    color: str
    linestyle: Any
    behind: bool = False


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


def sketches(comparison: Comparison) -> Iterator[Sketch]:
    """Curves of each quantity against epochs and against seconds."""
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
                what=f"{comparison.usual_said}, a panel for each architecture",
            )


def small_multiples(
    comparison: Comparison,
    groups: Mapping[str, Sequence[Case]],
    quantity: Quantity,
    against: str,
    *,
    factors: tuple[str, str],
    name: str,
    what: str,
    more: str = "",
) -> Iterator[Sketch]:
    """A panel for each group of cells; nothing where no cell has a curve.

    Args:
        comparison: What the cells are of.
        groups: Title of a panel to its cells.
        quantity: What is drawn.
        against: "epochs" or "seconds".
        factors: Axes of a cell that colour and dashes stand for.
        name: Of the files.
        what: What the caption says of the panels.
        more: What it says after that, of panels that are left out.
    """
    cases = [case for group in groups.values() for case in group]
    shown = [case for group in groups.values() for case in crowds.foremost(group)]
    looks = colours(levels(shown, factors[0])), dashes(levels(shown, factors[1]))
    drawn = {title: _curves(group, quantity, factors, looks) for title, group in groups.items()}
    drawn = {title: lines for title, lines in drawn.items() if lines}
    number = sum(map(len, drawn.values()))
    if not number or max(len(c.line.epochs) for lines in drawn.values() for c in lines) < 2:
        return
    missing = len(cases) - number
    lost = f" {missing} of the cells have no curve." if missing else ""
    band = " Bands span the seeds." if any(len(case.good) > 1 for case in cases) else ""
    yield Sketch(
        name=comparison.name(name),
        title=f"{quantity.heading[0].upper()}{quantity.heading[1:]} against "
        f"{'epochs' if against == 'epochs' else 'training seconds'}",
        caption=f"{quantity.heading[0].upper()}{quantity.heading[1:]} {what}; lines are means "
        f"over seeds.{band}{crowds.said(groups.values())}{more}{lost} {comparison.about(cases)}",
        figure=_figure(comparison, drawn, quantity, against),
        sections=(
            colour_key(factors[0], looks[0]),
            dash_key(factors[1], looks[1]),
            *crowds.key(groups.values()),
        ),
        margins=Margins(left=0.55, right=0.1, bottom=0.45, top=0.25, across=0.25, down=0.5)
        if against == "seconds"
        else Margins(left=0.55, right=0.1, bottom=0.45, top=0.25, across=0.25, down=0.3),
    )


def _curves(
    cases: Sequence[Case],
    quantity: Quantity,
    factors: tuple[str, str],
    looks: Looks,
) -> list[Curve]:
    """The lines of a panel, those behind the others first."""
    found = []
    shown = {id(case) for case in crowds.foremost(cases)}
    for case in sorted(cases, key=lambda case: id(case) in shown):
        found_line = line(case, quantity)
        if found_line is None:
            continue
        if id(case) not in shown:
            found.append(Curve(line=found_line, color=crowds.BEHIND, linestyle="-", behind=True))
            continue
        color = looks[0][getattr(case.cell, factors[0])]
        style = looks[1][getattr(case.cell, factors[1])]
        found.append(Curve(line=found_line, color=color, linestyle=style))
    return found


def line(case: Case, quantity: Quantity) -> Line | None:
    """The curve of a cell over its runs that ended well; None where nothing was measured."""
    by_seed = [
        {
            point.epoch: (point.train_s, value * quantity.factor)
            for point in run.curve
            if (value := quantity.get(point)) is not None
        }
        for run in case.good
    ]
    if not by_seed:
        return None
    epochs = sorted(set.intersection(*(set(found) for found in by_seed)))
    if not epochs:
        return None
    values = [[found[epoch][1] for found in by_seed] for epoch in epochs]
    return Line(
        epochs=tuple(epochs),
        seconds=tuple(sum(f[epoch][0] for f in by_seed) / len(by_seed) for epoch in epochs),
        mean=tuple(sum(found) / len(found) for found in values),
        low=tuple(map(min, values)),
        high=tuple(map(max, values)),
    )


def thinned(length: int, most: int) -> list[int]:
    """At most that many places of a curve, evenly spread, with both of its ends."""
    if length <= most:
        return list(range(length))
    return [round(step * (length - 1) / (most - 1)) for step in range(most)]


def _figure(
    comparison: Comparison, drawn: Mapping[str, Sequence[Curve]], quantity: Quantity, against: str
) -> "Figure":
    lines = [curve.line for curves in drawn.values() for curve in curves]
    most = max(LEAST_POINTS, POINTS_DRAWN // len(lines))
    columns = panel_columns(len(drawn))
    figure = new_figure(max(3.4, 2.65 * columns), 0.3 + 1.85 * -(-len(drawn) // columns))
    grid = panels(figure, len(drawn), columns, sharey=True, sharex=against == "epochs")
    cell = comparison.cases[0].cell
    for axes, (title, curves) in zip(grid, drawn.items(), strict=True):
        _draw(axes, curves, against, most)
        axes.set_title(shown_name(title), loc="left")
        axes.grid(visible=True)
        if quantity.name == "accuracy" and cell.protocol == "validation":
            target = cell.target_accuracy * quantity.factor
            axes.axhline(target, color=PALETTE[7], linewidth=0.8, linestyle=":")
    _scale(grid, lines, quantity, against)
    label_panels(grid, columns, AGAINST[against], quantity.heading)
    return figure


def panel_columns(number: int) -> int:
    """Two beside each other read well on a telephone; many would make a long page."""
    return min(number, 2 if number <= 6 else 3)


def _draw(axes: "Axes", curves: Sequence[Curve], against: str, most: int) -> None:
    """All lines and bands of a panel, in two collections: many times quicker than one by one."""
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
        if quantity.name != "accuracy" and low > 0 and high > STEEP * low:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epochs"))
        axes.autoscale_view()
        if axes.get_yscale() == "log":
            plain_log_ticks(axes.yaxis)
        if against == "seconds":
            axes.set_xlim(left=0)
