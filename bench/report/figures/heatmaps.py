"""Heat maps: one number for each pair of two factors, coloured from worst to best."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.columns import COLUMNS, METRICS
from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels, shown_name
from bench.report.figures.style import FOREGROUND, Sketch, new_figure
from bench.report.render import ABSENT, NOT_REACHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = ("accuracy", "macro_f1", "images_per_s", "time_to_accuracy_s")
LOGARITHMIC = ("images_per_s", "time_to_accuracy_s")
PAIRS = (("architecture", "optimizer", "augmentation"),
         ("architecture", "augmentation", "optimizer"))  # fmt: skip
"""Rows, columns, and the factor that a tile is the mean over."""
NOT_RUN = ABSENT

Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One place of a heat map."""

    value: float | None  # mean over the cells of the place, of their means over seeds
    text: str  # the value in the shown unit, or why there is none
    runs: tuple[int, int] = (0, 0)  # all, and those that the value is the mean of
    suspect: bool = False  # whether the timing of a run is suspect

    @property
    def partial(self) -> bool:
        """Whether some runs, but not all, have no value."""
        return self.value is not None and self.runs[1] < self.runs[0]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """A heat map's tiles by row and column."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tiles: Mapping[Place, Tile]


def heatmaps(comparison: Comparison) -> Iterator[Sketch]:
    """A heat map for each measure and pair of factors, of the most frequent pipeline."""
    cases = comparison.usual
    if len(cases) < 2:
        return
    for measure in MEASURES:
        if measure == "time_to_accuracy_s" and all(case.row["reached"] is None for case in cases):
            continue  # the protocol has no validation set
        for row_axis, column_axis, other in PAIRS:
            found = tiles(cases, measure, row_axis, column_axis)
            if len(found.tiles) > 1 and has_values(found):
                yield heat_map(
                    found,
                    measure,
                    name=comparison.name(f"{measure}_{row_axis}_{column_axis}"),
                    title=f"{heading(measure)}: {row_axis} by {column_axis}",
                    caption=f"{heading(measure)} {comparison.usual_text}, mean over {other}s and "
                    f"seeds. {comparison.about(cases)}",
                )


def tiles(cases: Sequence[Case], measure: str, row_axis: str, column_axis: str) -> Tiles:
    """The tiles of a heat map of one column of the matrix, the best net on top."""
    rows, columns = by_accuracy(cases, row_axis), levels(cases, column_axis)
    places: dict[Place, list[Case]] = {(row, column): [] for row in rows for column in columns}
    for case in cases:
        places[getattr(case.cell, row_axis), getattr(case.cell, column_axis)].append(case)
    return Tiles(
        rows=tuple(rows),
        columns=tuple(columns),
        tiles={place: _tile(here, measure) for place, here in places.items()},
    )


def _tile(cases: Sequence[Case], measure: str) -> Tile:
    if not cases:
        return Tile(value=None, text=NOT_RUN)
    total = sum(len(case.runs) for case in cases)
    with_value = sum(len(case.over_seeds(measure)) for case in cases)
    values = [value for case in cases if (value := case.mean(measure)) is not None]
    if not values:
        return Tile(value=None, text=_why_missing(cases, measure), runs=(total, 0))
    value = statistics.fmean(values)
    column = COLUMNS[measure]
    suspect = METRICS[measure].timing and any(case.suspect for case in cases)
    text = f"{value * column.factor:,.{column.digits or 0}f}"
    return Tile(value=value, text=text, runs=(total, with_value), suspect=suspect)


def _why_missing(cases: Sequence[Case], measure: str) -> str:
    if any(case.good for case in cases):
        return NOT_REACHED if measure == "time_to_accuracy_s" else "not measured"
    counts = Counter(run.status for case in cases for run in case.runs)
    return min(counts, key=lambda status: (-counts[status], status))


def has_values(found: Tiles) -> bool:
    """Whether there is a number to draw."""
    return any(tile.value is not None for tile in found.tiles.values())


def heat_map(found: Tiles, measure: str, *, name: str, title: str, caption: str) -> Sketch:
    """Draws a heat map and explains the marks that it uses."""
    texts = {place: _text(tile) for place, tile in found.tiles.items()}
    lines = [line for text in texts.values() for line in text.split("\n")]
    column_in = max(0.72, 0.1 + 0.062 * max(map(len, lines)))
    row_in = 0.27 if len(lines) == len(texts) else 0.34
    left_in = 0.3 + 0.07 * max(len(shown_name(row)) for row in found.rows)
    top_in = 0.35 + 0.04 * max(len(shown_name(column)) for column in found.columns)
    over_in = max(  # slanted column heads reach beyond the last column
        0.062 * len(shown_name(column)) - column_in * (behind + 0.5)
        for behind, column in enumerate(reversed(found.columns))
    )
    width_in = left_in + column_in * len(found.columns) + max(0.1, over_in)
    figure = new_figure(max(3.2, width_in), top_in + row_in * len(found.rows))
    _draw(figure.subplots(), found, texts, shares(found, measure))
    shown = found.tiles.values()
    notes = {
        "2 of 3: runs that the number is the mean of, out of all": any(t.partial for t in shown),
        "*: with a suspect timing": any(tile.suspect for tile in shown),
        f"{NOT_RUN}: not run": any(tile.text == NOT_RUN for tile in shown),
    }
    used = "; ".join(note for note, is_used in notes.items() if is_used)
    return Sketch(
        name=name, title=title, caption=f"{caption} {used}." if used else caption, figure=figure
    )


def _text(tile: Tile) -> str:
    text = f"{tile.text}*" if tile.suspect else tile.text
    return f"{text}\n{tile.runs[1]} of {tile.runs[0]}" if tile.partial else text


def shares(found: Tiles, measure: str) -> dict[Place, float]:
    """Where each value lies between the worst (0) and the best (1)."""
    scale = math.log if measure in LOGARITHMIC else float
    values = {
        place: scale(tile.value)
        for place, tile in found.tiles.items()
        if tile.value is not None and (tile.value > 0 or measure not in LOGARITHMIC)
    }
    if not values:
        return {}
    low, high = min(values.values()), max(values.values())
    if COLUMNS[measure].best == "lowest":
        low, high = high, low
    span = high - low
    return {place: (value - low) / span if span else 0.5 for place, value in values.items()}


def _draw(
    axes: "Axes", found: Tiles, texts: Mapping[Place, str], share: Mapping[Place, float]
) -> None:
    """Tiles with their texts; those without a share keep the page's background."""
    import numpy as np
    from matplotlib import colormaps

    colours = np.zeros((len(found.rows), len(found.columns), 4))
    scale = colormaps["viridis"]
    for row_number, row in enumerate(found.rows):
        for column_number, column in enumerate(found.columns):
            place = row, column
            ink = FOREGROUND
            if place in share:
                colours[row_number, column_number] = scale(share[place])
                ink = "white" if share[place] < 0.55 else "black"
            axes.text(
                column_number + 0.5, row_number + 0.5, texts[place], color=ink, size=7.5,
                ha="center", va="center", in_layout=False, linespacing=0.95,
            )  # fmt: skip
    axes.pcolormesh(colours, linewidth=0)
    axes.set_xlim(0, len(found.columns))
    axes.set_ylim(len(found.rows), 0)
    axes.set_yticks(np.arange(len(found.rows)) + 0.5, [shown_name(row) for row in found.rows])
    slanted = max(map(len, found.columns)) > 8
    axes.set_xticks(
        np.arange(len(found.columns)) + 0.5,
        [shown_name(column) for column in found.columns],
        rotation=25 if slanted else 0,
        ha="left" if slanted else "center",
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def heading(measure: str) -> str:
    """The title of a measure, with its unit in brackets."""
    header = COLUMNS[measure].header
    header = header[0].upper() + header[1:]
    for unit in ("s", "%"):
        if header.endswith(f" {unit}"):
            return f"{header.removesuffix(f' {unit}')} ({unit})"
    return header
