"""Heat maps: one number for each pair of two factors, coloured from worst to best."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, product
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels
from bench.report.matrix import PARTIAL, Mean, common, coverage, means
from bench.report.render import ABSENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = (ACCURACY, MACRO_F1, SPEED, TIME)
LOGARITHMIC = (SPEED, TIME)
PAIRS = (("architecture", "optimizer"), ("architecture", "augmentation"))  # rows and columns
NOT_RUN = ABSENT

Place = tuple[str, str]
Tiles = Mapping[Place, Mean[Record]]  # by row and column, the rows from the top down


def heatmaps(comparison: Comparison) -> Iterator[style.Sketch]:
    """A heat map for each measure and pair of factors."""
    for metric, axes in product(MEASURES, PAIRS):
        yield from heat_map(comparison, metric, axes, f"{heading(metric)}.")


def heat_map(
    comparison: Comparison, metric: Metric, axes: Place, caption: str
) -> Iterator[style.Sketch]:
    """Draws a heat map and explains the marks that it uses; nothing if it has no two tiles."""
    if metric is TIME and not any(case.cell.holds_out for case in comparison.cases):
        return
    cells = [case.cell for case in comparison.cases]
    cases = list(compress(comparison.cases, common(cells, axes)))
    found = tiles(cases, metric, *axes)
    share = shares(found, metric)
    if len(found) < 2 or not share:
        return
    notes = {
        PARTIAL: "partial",
        f"{NOT_RUN}: not run.": NOT_RUN,
    }
    marks = {"partial" if tile.partial else tile.text for tile in found.values()}
    used = [note for note, mark in notes.items() if mark in marks]
    ends = {share[place]: found[place].text for place in share}
    yield comparison.sketch(
        f"{metric.name.removesuffix('_pct')}_{'_'.join(axes)}",
        f"{heading(metric)}: {' by '.join(axes)}",
        [caption, *coverage(cells, axes), *used],
        _figure(found, share),
        style.colour_key("colour", _ends(ends) if len(ends) > 1 else {}, gids={}),
        cases=cases,
        timed=metric.timing,
    )


def tiles(cases: Sequence[Case], metric: Metric, row_axis: str, column_axis: str) -> Tiles:
    """The tiles of a heat map of one metric, the best net on top."""
    found = means(cases, metric, (row_axis, column_axis))
    places = product(by_accuracy(cases, row_axis), levels(cases, column_axis))
    return {place: found.get(place) or Mean(metric=metric, outcomes=()) for place in places}


def shares(found: Tiles, metric: Metric) -> dict[Place, float]:
    """Where each value lies between the worst (0) and the best (1)."""
    scale = math.log if metric in LOGARITHMIC else float
    values = {
        place: scale(tile.value)
        for place, tile in found.items()
        if tile.value is not None and (tile.value > 0 or metric not in LOGARITHMIC)
    }
    if not values:
        return {}
    ends = min(values.values()), max(values.values())
    worst, best = ends if metric.higher else ends[::-1]  # a stall's lower end is the better one
    return {
        place: (value - worst) / (best - worst) if best != worst else 0.5
        for place, value in values.items()
    }


def _ends(texts: Mapping[float, str]) -> dict[str, object]:
    """The key's entries for the worst and the best, by share of the scale."""
    from matplotlib import colormaps

    names = {0.0: "worst", 1.0: "best"}
    return {f"{names[at]}: {texts[at]}": colormaps["viridis"](at) for at in names}


def _figure(found: Tiles, share: Mapping[Place, float]) -> "Figure":
    """Tiles with their texts; those without a share keep the page's background."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    places = [list(dict.fromkeys(place[axis] for place in found)) for axis in (0, 1)]
    rows, columns = ([style.shown_name(name) for name in names] for names in places)
    texts = {
        place: f"{tile.text}\n{tile.runs[1]} of {tile.runs[0]}" if tile.partial else tile.text
        for place, tile in found.items()
    }
    lines = [line for text in texts.values() for line in text.split("\n")]
    column_in = max(0.72, 0.1 + 0.062 * max(map(len, lines)))
    row_in = 0.27 if len(lines) == len(texts) else 0.34
    left_in = 0.3 + 0.07 * max(map(len, rows))
    top_in = 0.35 + 0.04 * max(map(len, columns))
    over_in = max(  # slanted column heads reach beyond the last column
        0.062 * len(column) - column_in * (behind + 0.5)
        for behind, column in enumerate(reversed(columns))
    )
    width_in = left_in + column_in * len(columns) + max(0.1, over_in)
    figure, (axes,) = style.canvas(max(3.2, width_in), top_in + row_in * len(rows))
    squares, colours, ids = [], [], []
    for (row, column), text in texts.items():
        at = places[0].index(row), places[1].index(column)
        ink = style.FOREGROUND
        if (row, column) in share:
            corners = ((0, 0), (0, 1), (1, 1), (1, 0))
            squares.append([(at[1] + x, at[0] + y) for x, y in corners])
            colours.append(colormaps["viridis"](share[row, column]))
            ids.append([case.id for case in found[row, column].outcomes])
            ink = "white" if share[row, column] < 0.55 else "black"
        axes.text(
            at[1] + 0.5, at[0] + 0.5, text, color=ink, size=7.5,
            ha="center", va="center", in_layout=False, linespacing=0.95,
            gid=style.cells_gid([case.id for case in found[row, column].outcomes]),
        )  # fmt: skip
    axes.add_collection(
        PolyCollection(squares, facecolors=colours, linewidths=0, gid=style.each_gid(ids))
    )
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    slanted = max(map(len, columns)) > 8
    axes.set_xticks(
        np.arange(len(columns)) + 0.5,
        columns,
        rotation=25 if slanted else 0,
        ha="left" if slanted else "center",
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def heading(metric: Metric) -> str:
    """The title of a metric, with its unit in brackets."""
    header = metric.header
    header = header[0].upper() + header[1:]
    for unit in ("s", "%"):
        if header.endswith(f" {unit}"):
            return f"{header.removesuffix(f' {unit}')} ({unit})"
    return header
