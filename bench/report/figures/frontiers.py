"""Accuracy against throughput and against time: which cells nothing else beats in both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import (
    PALETTE,
    Section,
    Sketch,
    colour_key,
    colours,
    marker_key,
    markers,
    new_figure,
    plain_log_ticks,
)
from bench.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def sketches(comparison: Comparison) -> Iterator[Sketch]:
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
