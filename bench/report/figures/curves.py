"""Curves of all cells: a panel for each net, colours for optimizers, dashes for augmentations."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.record import Record
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, by_accuracy, levels
from bench.report.rows import Outcome
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 8_000  # in a figure; longer curves are thinned
MAX_LINES = 16  # of a panel with wide lines and bands
QUANTITIES = {
    "accuracy": ("validation_accuracy", "validation accuracy (%)"),
    "validation_loss": ("validation_loss", "validation loss"),
    "training_loss": ("train_loss", "training loss"),
}
"""Field of a point and heading. Accuracies are shown in %, losses on a logarithmic scale."""
Curve = tuple[Outcome[Record], np.ndarray]
AGAINST = {"epochs": "epoch", "seconds": "training clock (s)"}


def curves(comparison: Comparison) -> Iterator[style.Sketch]:
    """Each quantity against epochs and against seconds."""
    pipelines = sorted(outcome.cell.pipeline for outcome in comparison.outcomes) or [""]
    main = statistics.mode(pipelines)
    outcomes = [outcome for outcome in comparison.outcomes if outcome.cell.pipeline == main]
    others = len(pipelines) - len(outcomes)
    nets = by_accuracy(outcomes, "architecture")
    colours = style.cycle(levels(outcomes, "optimizer"), style.PALETTE)
    dashes = style.cycle(levels(outcomes, "augmentation"), style.DASHES)
    looks = {
        outcome.id: {
            "color": colours[outcome.cell.optimizer],
            "linestyle": dashes[outcome.cell.augmentation],
            "linewidth": 1.2 if sum(bool(one.good) for one in group) <= MAX_LINES else 0.5,
        }
        for group in nets.values()
        for outcome in group
    }
    for (name, (field, heading)), against in product(QUANTITIES.items(), AGAINST):
        found = {
            net: [(one, found) for one in group if (found := line(one, field, against)) is not None]
            for net, group in nets.items()
        }
        drawn = {net: lines for net, lines in found.items() if lines}
        every = [one for lines in drawn.values() for one in lines]
        if max((values.shape[1] for _, values in every), default=0) < 2:
            continue
        missing, top = len(outcomes) - len(every), cut([values[3] for _, values in every])
        yield comparison.sketch(
            f"curves_{name}_{against}",
            f"{heading.partition(' (')[0].capitalize()} against {against}",
            [
                f"Pipeline {style.shown_name(main)}; lines are means over seeds.",
                others > 0 and f"{count(others, 'cell')} with another pipeline left out.",
                any(len(one.good) > 1 for one in outcomes) and "Bands span the seeds.",
                top is not None and name != "accuracy" and f"Values over {top:.3g} are cut off.",
                missing > 0 and f"{count(missing, 'cell')} without a curve.",
            ],
            _figure(drawn, looks, heading, against, top),
            style.colour_key("optimizer", colours),
            style.Section(
                title="augmentation",
                looks={name: {"linestyle": dash} for name, dash in dashes.items()},
            ),
            outcomes=outcomes,
            timed=against == "seconds",
        )


def line(outcome: Outcome[Record], field: str, against: str = "epochs") -> np.ndarray | None:
    """The curve of a cell over the epochs that all its good runs finished; None without any.

    Float (4, epochs): epochs or seconds of the training clock (mean over seeds), and mean, lowest
    and highest value over seeds.
    """
    runs = outcome.trusted if against == "seconds" else outcome.good
    factor = 100.0 if field.endswith("accuracy") else 1.0
    by_seed = [
        {
            point.epoch: (point.train_s, value * factor)
            for point in run.curve
            if (value := getattr(point, field)) is not None
        }
        for run in runs
    ]
    epochs = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    if not epochs:
        return None
    points = np.array([[curve[epoch] for epoch in epochs] for curve in by_seed])
    seconds, values = points[..., 0], points[..., 1]
    along = epochs if against == "epochs" else seconds.mean(axis=0)
    return np.array([along, values.mean(axis=0), values.min(axis=0), values.max(axis=0)])


def cut(curves: Sequence[np.ndarray]) -> float | None:
    """Where an axis of losses ends, if a few curves that begin high would flatten the others."""
    tops = [float(curve.max()) for curve in curves]
    top = 1.5 * statistics.median_low(tops)
    return top if max(tops) > top else None


def thinned(length: int, most: int) -> np.ndarray:
    """Indices of at most `most` points of a curve, evenly spaced, including both ends."""
    return np.linspace(0, length - 1, min(length, most)).round().astype(int)


def _figure(
    drawn: Mapping[str, Sequence[Curve]],
    looks: style.Looks,
    heading: str,
    against: str,
    top: float | None,
) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    accuracy = heading.endswith("(%)")
    most = max(24, MAX_POINTS // sum(map(len, drawn.values())))
    columns = min(len(drawn), 2 if len(drawn) <= 6 else 3)  # two side by side fit a telephone
    figure, grid = style.canvas(
        max(3.4, 2.3 * columns),
        0.3 + 1.75 * -(-len(drawn) // columns),
        panels=len(drawn),
        columns=columns,
        sharey=True,
        sharex=against == "epochs",
    )
    for place, (axes, (title, curves)) in enumerate(zip(grid, drawn.items(), strict=True)):
        _draw(axes, curves, looks, most)
        axes.set_title(style.shown_name(title))
        cell = curves[0][0].cell
        if accuracy and cell.holds_out:
            target = 100 * cell.target_accuracy
            axes.axhline(target, color=style.GREY, linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epochs"))
        axes.autoscale_view()
        if against == "seconds":
            axes.set_xlim(left=0)
        if place % columns == 0:
            short = heading.partition(" ")[2]  # a panel is low
            axes.set_ylabel(style.toward_better(short, higher=accuracy))
        if place + columns >= len(grid):  # nothing stands below
            axes.set_xlabel(AGAINST[against])
            axes.tick_params(labelbottom=True)
    for axes in () if accuracy else grid:
        axes.set(yscale="log", ylim=(None, top))
        style.log_scale(axes.yaxis)
    return figure


def _draw(axes: "Axes", curves: Sequence[Curve], looks: style.Looks, most: int) -> None:
    """All lines and bands of a panel in two collections: much faster than one by one."""
    from matplotlib.collections import LineCollection, PolyCollection

    lines, bands, banded = [], [], []
    for outcome, values in curves:
        along, middle, low, high = values[:, thinned(values.shape[1], most)]
        lines.append(np.column_stack([along, middle]))
        if (low != high).any() and looks[outcome.id]["linewidth"] > 1:
            bands.append(np.column_stack([[*along, *along[::-1]], [*low, *high[::-1]]]))
            banded.append(outcome)
    own = [looks[outcome.id] for outcome, _ in curves]
    styles: dict[str, Any] = {f"{name}s": [look[name] for look in own] for name in own[0]}
    gid = style.each_gid([outcome] for outcome, _ in curves)
    axes.add_collection(LineCollection(lines, gid=gid, **styles))
    if bands:
        colors = [looks[outcome.id]["color"] for outcome in banded]
        gid = style.each_gid([outcome] for outcome in banded)
        axes.add_collection(
            PolyCollection(bands, facecolors=colors, alpha=0.15, linewidths=0, gid=gid)
        )
