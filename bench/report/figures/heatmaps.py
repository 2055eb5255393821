"""Two factors against each other: one number for each pair, coloured from worst to best."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.figures.comparison import Case, Comparison, by_accuracy, levels, shown_name
from bench.report.figures.style import FOREGROUND, Sketch, new_figure
from bench.report.render import ABSENT, COLUMNS, NOT_REACHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = ("accuracy", "macro_f1", "images_per_s", "time_to_accuracy_s")
TIMINGS = ("images_per_s", "time_to_accuracy_s", "stall_pct")
LOGARITHMIC = ("images_per_s", "time_to_accuracy_s")
PAIRS = (("architecture", "optimizer"), ("architecture", "augmentation"))
NOT_RUN = ABSENT
EXPLAINED = {
    "k of n": "2 of 3: runs that the number is of, out of all",
    "*": "*: with a timing that is suspect",
    NOT_RUN: f"{NOT_RUN}: not run",
}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What stands in one place of a heat map.

    Args:
        value: Mean over the cells of the place, of their means over seeds; None for none.
        text: The value in the unit shown, or why there is none.
        runs: Runs there are, and of them those that the value is of.
        suspect: Whether the timing of one is suspect.
    """

    value: float | None
    text: str
    runs: tuple[int, int] = (0, 0)
    suspect: bool = False

    @property
    def partial(self) -> bool:
        """Whether some runs, but not all, have no value."""
        return self.value is not None and self.runs[1] < self.runs[0]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """A heat map's numbers: `tiles[row, column]`."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tiles: Mapping[tuple[str, str], Tile]


def sketches(comparison: Comparison) -> Iterator[Sketch]:
    """A heat map for each measure and pair of factors, of the pipeline that most cells have."""
    cases = comparison.usual
    if len(cases) < 2:
        return
    for measure in MEASURES:
        if measure == "time_to_accuracy_s" and all(case.row["reached"] is None for case in cases):
            continue  # nothing was held out to see it by
        for row_axis, column_axis in PAIRS:
            other = next(axis for pair in PAIRS for axis in pair
                         if axis not in (row_axis, column_axis))  # fmt: skip
            found = tiles(cases, measure, row_axis, column_axis)
            if len(found.rows) * len(found.columns) < 2 or not _drawable(found):
                continue
            yield heat_map(
                found,
                measure,
                name=comparison.name(f"{measure}_{row_axis}_{column_axis}"),
                title=f"{heading(measure)}: {row_axis} by {column_axis}",
                caption=f"{heading(measure)} {comparison.usual_said}, mean over {other}s and "
                f"seeds. {comparison.about(cases)}",
            )


def tiles(cases: Sequence[Case], measure: str, row_axis: str, column_axis: str) -> Tiles:
    """The numbers of a heat map, the best net on top.

    Args:
        cases: Cells to pivot.
        measure: A column of the matrix.
        row_axis: An axis of a cell.
        column_axis: Another.
    """
    rows, columns = by_accuracy(cases, row_axis), levels(cases, column_axis)
    places: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        place = getattr(case.cell, row_axis), getattr(case.cell, column_axis)
        places.setdefault(place, []).append(case)
    return Tiles(
        rows=tuple(rows),
        columns=tuple(columns),
        tiles={
            (row, column): _tile(places.get((row, column), []), measure)
            for row in rows
            for column in columns
        },
    )


def _tile(cases: Sequence[Case], measure: str) -> Tile:
    if not cases:
        return Tile(value=None, text=NOT_RUN)
    total = sum(len(case.runs) for case in cases)
    with_value = sum(len(case.over_seeds(measure)) for case in cases)
    values = [value for case in cases if (value := case.mean(measure)) is not None]
    if not values:
        return Tile(value=None, text=_absence(cases, measure), runs=(total, 0))
    value = statistics.fmean(values)
    column = COLUMNS[measure]
    suspect = measure in TIMINGS and any(case.suspect for case in cases)
    text = f"{value * column.factor:,.{column.digits or 0}f}"
    return Tile(value=value, text=text, runs=(total, with_value), suspect=suspect)


def _absence(cases: Sequence[Case], measure: str) -> str:
    """In words why there is no number."""
    if any(case.good for case in cases):
        return NOT_REACHED if measure == "time_to_accuracy_s" else "not measured"
    counts = Counter(run.status for case in cases for run in case.runs)
    return min(counts, key=lambda status: (-counts[status], status))


def _drawable(found: Tiles) -> bool:
    return any(tile.value is not None for tile in found.tiles.values())


def heat_map(found: Tiles, measure: str, *, name: str, title: str, caption: str) -> Sketch:
    """Draws a heat map."""
    texts = {place: _text(tile) for place, tile in found.tiles.items()}
    column_in = max(0.72, 0.1 + 0.062 * max(len(line) for text in texts.values()
                                             for line in text.split("\n")))  # fmt: skip
    left_in = 0.3 + 0.07 * max(len(shown_name(row)) for row in found.rows)
    top_in = 0.35 + 0.04 * max(len(shown_name(column)) for column in found.columns)
    row_in = 0.34 if any("\n" in text for text in texts.values()) else 0.27
    over_in = max(  # heads lean to the right, over the columns that follow and beyond
        0.062 * len(shown_name(column)) - column_in * (behind + 0.5)
        for behind, column in enumerate(reversed(found.columns))
    )
    width_in = left_in + column_in * len(found.columns) + max(0.1, over_in)
    figure = new_figure(max(3.2, width_in), top_in + row_in * len(found.rows))
    axes = figure.subplots()
    draw_tiles(axes, found, texts, shares(found, measure))
    used = {"k of n": any(tile.partial for tile in found.tiles.values())}
    used["*"] = any(tile.suspect for tile in found.tiles.values())
    used[NOT_RUN] = any(tile.text == NOT_RUN for tile in found.tiles.values())
    notes = "; ".join(EXPLAINED[sign] for sign, there in used.items() if there)
    return Sketch(
        name=name,
        title=title,
        caption=f"{caption} {notes}." if notes else caption,
        figure=figure,
    )


def _text(tile: Tile) -> str:
    text = f"{tile.text}*" if tile.suspect else tile.text
    return f"{text}\n{tile.runs[1]} of {tile.runs[0]}" if tile.partial else text


def shares(found: Tiles, measure: str) -> dict[tuple[str, str], float]:
    """Each value's place between the worst (0) and the best (1)."""
    scale = math.log if measure in LOGARITHMIC else float
    values = {
        place: scale(tile.value)
        for place, tile in found.tiles.items()
        if tile.value is not None and (tile.value > 0 or measure not in LOGARITHMIC)
    }
    if not values:
        return {}
    low, high = min(values.values()), max(values.values())
    if COLUMNS[measure].lower:
        low, high = high, low
    span = high - low
    return {place: (value - low) / span if span else 0.5 for place, value in values.items()}


def draw_tiles(
    axes: "Axes",
    found: Tiles,
    texts: Mapping[tuple[str, str], str],
    share: Mapping[tuple[str, str], float],
    size: float = 7.5,
) -> None:
    """Tiles with their texts; those without a share keep the page's background."""
    import numpy as np
    from matplotlib import colormaps

    colours = np.zeros((len(found.rows), len(found.columns), 4))
    scale = colormaps["viridis"]
    for row_number, row in enumerate(found.rows):
        for column_number, column in enumerate(found.columns):
            place = row, column
            if place in share:
                colours[row_number, column_number] = scale(share[place])
            axes.text(
                column_number + 0.5, row_number + 0.5, texts[place],
                ha="center", va="center", size=size, in_layout=False, linespacing=0.95,
                color=_ink(share.get(place)),
            )  # fmt: skip
    axes.pcolormesh(colours, linewidth=0)
    axes.set_xlim(0, len(found.columns))
    axes.set_ylim(len(found.rows), 0)
    axes.set_yticks(np.arange(len(found.rows)) + 0.5, [shown_name(row) for row in found.rows])
    axes.set_xticks(
        np.arange(len(found.columns)) + 0.5,
        [shown_name(column) for column in found.columns],
        rotation=25 if max(map(len, found.columns)) > 8 else 0,
        ha="left" if max(map(len, found.columns)) > 8 else "center",
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _ink(share: float | None) -> str:
    """A text's colour on its tile."""
    if share is None:
        return FOREGROUND
    return "white" if share < 0.55 else "black"


def heading(measure: str) -> str:
    """The title of a measure, with its unit in brackets."""
    header = COLUMNS[measure].header
    header = header[0].upper() + header[1:]
    if header.endswith(" s"):
        return f"{header.removesuffix(' s')} (s)"
    return f"{header.removesuffix(' %')} (%)" if header.endswith(" %") else header
