"""Heat maps: one number for each pair of two factors, coloured from worst to best."""

from collections.abc import Iterator
from itertools import compress, product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.columns import SPEED, TIME, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, by_accuracy, levels
from bench.report.figures.style import Outcomes
from bench.report.matrix import PARTIAL, Mean, common, coverage, means
from bench.report.render import ABSENT
from bench.report.statistics.effects import EFFECT_METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heatmaps(comparison: Comparison) -> Iterator[style.Sketch]:
    """A heat map for each metric, of nets by optimizer and by augmentation."""
    for metric, column in product(EFFECT_METRICS, ("optimizer", "augmentation")):
        yield from heat_map(comparison, metric, ("architecture", column))


def heat_map(
    comparison: Comparison, metric: Metric, axes: tuple[str, str], caption: str = ""
) -> Iterator[style.Sketch]:
    """A heat map with a caption that explains its marks; nothing for fewer than two tiles."""
    from matplotlib import colormaps

    if metric is TIME and not any(outcome.seeks_target for outcome in comparison.outcomes):
        return
    cells = [outcome.cell for outcome in comparison.outcomes]
    outcomes = list(compress(comparison.outcomes, common(cells, axes)))
    found = tiles(outcomes, metric, axes)
    if len(found) < 2 or found["share"].isna().all():
        return
    ends = found.dropna(subset="share").sort_values("share", kind="stable").iloc[[0, -1]]
    key = {
        f"{word}: {text.split()[0]}": colormaps["viridis"](share)
        for word, text, share in zip(("worst", "best"), ends["text"], ends["share"], strict=True)
        if ends["share"].nunique() > 1
    }
    heading = style.axis_label(metric)
    yield comparison.sketch(
        f"{metric.name.removesuffix('_pct')}_{'_'.join(axes)}",
        f"{heading[0].upper()}{heading[1:]}: {' by '.join(axes)}",
        [
            caption,
            *coverage(cells, axes),
            found["text"].str.contains("\n").any() and PARTIAL,
            (found["text"] == ABSENT).any() and f"{ABSENT}: not run.",
        ],
        _figure(found),
        style.colour_key("colour", key, gids={}),
        outcomes=outcomes,
        timed=metric.timing,
    )


def tiles(outcomes: Outcomes, metric: Metric, axes: tuple[str, str]) -> pd.DataFrame:
    """The tiles of a heat map, best net first; `share` is 0 for the worst, 1 for the best."""
    found = means(outcomes, metric, axes)
    rows = []
    for row, column in product(by_accuracy(outcomes, axes[0]), levels(outcomes, axes[1])):
        one = found.get((row, column)) or Mean(metric=metric, outcomes=())
        text = f"{one.text}\n{one.partial}" if one.partial else one.text
        rows.append((row, column, one.outcomes, one.value, text))
    frame = pd.DataFrame(rows, columns=["row", "column", "cells", "value", "text"])
    values = frame["value"].astype(float)
    if metric in (SPEED, TIME):
        values = values.where(values > 0).map(np.log)
    values = values if metric.higher else -values  # a stall's lower end is the better one
    low, high = values.min(), values.max()
    return frame.assign(share=(values - low) / (high - low) if high > low else values * 0 + 0.5)


def _figure(found: pd.DataFrame) -> "Figure":
    """Tiles with their texts; those without a share keep the page's background."""
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    places = {axis: list(dict.fromkeys(found[axis])) for axis in ("row", "column")}
    rows, columns = (list(map(style.shown_name, names)) for names in places.values())
    lines = found["text"].str.split("\n")
    column_in = max(0.55, 0.1 + 0.062 * max(len(line) for each in lines for line in each))
    row_in = 0.27 if max(map(len, lines)) == 1 else 0.34
    left_in = 0.3 + 0.07 * max(map(len, rows))
    top_in = 0.35 + 0.04 * max(map(len, columns))
    over_in = max(  # slanted column heads reach beyond the last column
        0.062 * len(column) - column_in * (behind + 0.5)
        for behind, column in enumerate(reversed(columns))
    )
    width_in = left_in + column_in * len(columns) + max(0.1, over_in)
    figure, (axes,) = style.canvas(max(3.2, width_in), top_in + row_in * len(rows))
    squares = []
    for row, column, text, share, cells in found[
        ["row", "column", "text", "share", "cells"]
    ].to_numpy():
        ink = "white" if share < 0.55 else "black" if share <= 1 else style.FOREGROUND
        x, y = places["column"].index(column), places["row"].index(row)
        squares.append([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)])
        axes.text(
            x + 0.5, y + 0.5, text, color=ink, size=7.5, ha="center", va="center",
            in_layout=False, linespacing=0.95, gid=style.gid(cells),
        )  # fmt: skip
    colours = colormaps["viridis"].with_extremes(bad=(0, 0, 0, 0))(found["share"].to_numpy(float))
    gid = style.each_gid(found["cells"])
    axes.add_collection(PolyCollection(squares, facecolors=colours, linewidths=0, gid=gid))
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=25, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure
