"""Pipelines alone: what each delivers without a net, as `bench loaders` measured it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bench.loader_record import LoadersRecord
from bench.report.figures.comparison import shown_name
from bench.report.figures.style import (
    PALETTE,
    Sketch,
    colour_key,
    colours,
    new_figure,
    plain_log_ticks,
)
from bench.report.loaders import Row, rows, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def alone(loaders: LoadersRecord) -> Iterator[Sketch]:
    """What each pipeline delivers without a net; nothing where none has a figure."""
    found = [row for row in rows(loaders) if row["images_per_s"] is not None]
    if not found:
        return
    lost = [
        f"{shown_name(row['pipeline'])} at {row['batch_size']} ({row['status']})"
        for row in rows(loaders)
        if row["images_per_s"] is None
    ]
    sizes = sorted({row["batch_size"] for row in found})
    names = list(dict.fromkeys(row["pipeline"] for row in found))
    many = len(sizes) > 1
    yield Sketch(
        name="pipelines_alone",
        title="Pipelines alone",
        caption="Images/s that each pipeline delivers without a net, median of the repeats; bars "
        f"span the quartiles. {shown_name(title(loaders), length=None)}."
        + (f" Without figures: {', '.join(lost)}." if lost else ""),
        figure=_lines_figure(found, names, sizes) if many else _dots_figure(found, sizes[0]),
        sections=(colour_key("pipeline", colours(names)),) if many else (),
    )


def about(loaders: LoadersRecord) -> str:
    """What stands under the title of its picture."""
    return shown_name(title(loaders), length=None)


def mark(loaders: LoadersRecord) -> str:
    """Eight digits of what was measured."""
    return hashlib.sha256(msgspec.json.encode(loaders, order="deterministic")).hexdigest()[:8]


def _dots_figure(found: Sequence[Row], size: int) -> "Figure":
    figure = new_figure(5.6, 0.6 + 0.26 * len(found))
    axes = figure.subplots()
    for place, row in enumerate(found):
        _draw_quartiles(axes, [row["images_per_s"]], [place], [row], PALETTE[2], across=True)
        axes.annotate(
            f"{row['images_per_s']:,.0f}", (1, place), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", size=7,
        )  # fmt: skip
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.set_yticks(range(len(found)), [shown_name(row["pipeline"]) for row in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(f"images/s at batch {size:,}")
    axes.grid(visible=True, axis="x")
    return figure


def _lines_figure(found: Sequence[Row], names: Sequence[str], sizes: Sequence[int]) -> "Figure":
    from matplotlib.ticker import NullLocator

    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for name, color in colours(names).items():
        points = [row for row in found if row["pipeline"] == name]
        x = [row["batch_size"] for row in points]
        y = [row["images_per_s"] for row in points]
        axes.plot(x, y, color=color, linewidth=1.3)
        _draw_quartiles(axes, x, y, points, color, across=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    plain_log_ticks(axes.yaxis)
    axes.set_xlabel("batch size (images)")
    axes.set_ylabel("images/s")
    axes.grid(visible=True)
    return figure


def _draw_quartiles(
    axes: "Axes", x: Sequence[float], y: Sequence[float], points: Sequence[Row], color: str,
    *, across: bool,
) -> None:  # fmt: skip
    below = [row["images_per_s"] - row["images_per_s_q1"] for row in points]
    above = [row["images_per_s_q3"] - row["images_per_s"] for row in points]
    error: dict[str, Any] = {"xerr" if across else "yerr": [below, above]}
    axes.errorbar(x, y, **error, fmt="o", color=color, markersize=4.5, capsize=3, linewidth=1.2)
