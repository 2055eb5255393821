"""How pictures look: colours for every eye and for dark and light pages, names as they are."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.figures.comparison import shown_name
from bench.report.figures.svg import FOREGROUND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/) without black; blue a little lighter
# and yellow darker, so that each reads on white and on black. Paul Tol's muted ones follow.
PALETTE = (
    "#D55E00", "#0A82CC", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#A39A00", "#8C8C8C",
    "#AA4499", "#44AA99", "#A8674F", "#7B74D6",
)  # fmt: skip
DASHES: tuple[Any, ...] = (
    "-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)),
    (0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 3)), (0, (9, 2, 2, 2)),
)  # fmt: skip
MARKERS = "osD^vP*X<>hp"
SIZE = 8.0  # of text, in points
LINE_IN = 0.19  # height of a line of the key
LETTER_IN = 0.064  # what a letter of that size takes at most, on average
BOLD_IN = 0.072  # of a bold one
HANDLE_IN = 0.34

_HANDLE: dict[str, Any] = {
    "color": FOREGROUND,
    "linewidth": 1.5,
    "markersize": 5,
    "solid_capstyle": "butt",
}
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # "$x$" is a name
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "axes.titlesize": SIZE + 1,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": FOREGROUND,
    "axes.labelcolor": FOREGROUND,
    "axes.titlecolor": FOREGROUND,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "xtick.color": FOREGROUND,
    "ytick.color": FOREGROUND,
    "text.color": FOREGROUND,
    "grid.color": FOREGROUND,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "hatch.color": FOREGROUND,
    "hatch.linewidth": 0.4,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.1,
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the key: what one visual property means.

    Args:
        title: The factor.
        entries: Names with the arguments of the `Line2D` that stands beside each.
        handle_in: Length of that line.
    """

    title: str
    entries: tuple[tuple[str, dict[str, Any]], ...]
    handle_in: float = HANDLE_IN


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Room around and between panels in inches, for many of them: measuring texts takes long."""

    left: float
    right: float
    bottom: float
    top: float
    across: float
    down: float


@dataclass(frozen=True, kw_only=True)
class KeyItem:
    """A text of the key: a title, or an entry with its look.

    Args:
        left_in: Inches from the left edge.
        text: Beside the handle.
        look: Of the handle; None for a title.
        handle_in: Its length.
    """

    left_in: float
    text: str
    look: Mapping[str, Any] | None = None
    handle_in: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A picture that is drawn but not saved.

    Args:
        name: Of its files.
        title: In a few words.
        caption: What is drawn, over what.
        figure: Without a header.
        sections: The key at its bottom.
        margins: Around its panels; None to measure what its texts need.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
    sections: tuple[Section, ...] = ()
    margins: Margins | None = None


@contextmanager
def settings() -> Iterator[None]:
    """Inside, figures look like this, whatever a person's own settings of matplotlib are."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        # A name in a script that the font lacks: PNGs show boxes, SVGs take another font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure; not pyplot's, which would look for a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def name_bars(axes: "Axes", names: Sequence[str], *, size: float, end: float, unit: str) -> None:
    """Names horizontal bars from the top down, on an axis from 0 to `end`."""
    axes.set_yticks(range(len(names)), names, size=size)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, end)
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")


def colours(levels: Sequence[str]) -> dict[str, str]:
    """A colour for each entry; they repeat after twelve."""
    return {level: PALETTE[number % len(PALETTE)] for number, level in enumerate(levels)}


def dashes(levels: Sequence[str]) -> dict[str, Any]:
    """A style of line for each entry; they repeat after eight."""
    return {level: DASHES[number % len(DASHES)] for number, level in enumerate(levels)}


def markers(levels: Sequence[str]) -> dict[str, str]:
    """A marker for each entry; they repeat after twelve."""
    return {level: MARKERS[number % len(MARKERS)] for number, level in enumerate(levels)}


def colour_key(title: str, look: dict[str, str]) -> Section:
    """What colours mean."""
    entries = tuple((shown_name(one), {"color": c, "linewidth": 6}) for one, c in look.items())
    return Section(title=title, entries=entries, handle_in=0.2)


def dash_key(title: str, look: dict[str, Any]) -> Section:
    """What dashes mean."""
    entries = tuple((shown_name(one), {"linestyle": style}) for one, style in look.items())
    return Section(title=title, entries=entries)


def marker_key(title: str, look: dict[str, str]) -> Section:
    """What markers mean."""
    entries = tuple(
        (shown_name(one), {"marker": marker, "linestyle": "none"}) for one, marker in look.items()
    )
    return Section(title=title, entries=entries, handle_in=0.14)


def key_rows(sections: Sequence[Section], width_in: float) -> list[list[KeyItem]]:
    """The key as rows as wide as the figure; a part starts a row."""
    rows: list[list[KeyItem]] = []
    for part in sections:
        indent = 0.1 + BOLD_IN * (len(part.title) + 1.5)
        row = [KeyItem(left_in=0.1, text=part.title)]
        left = indent
        for name, look in part.entries:
            needed = part.handle_in + LETTER_IN * len(name) + 0.26
            if left + needed > width_in and left > indent:
                rows.append(row)
                row, left = [], indent
            row.append(KeyItem(left_in=left, text=name, look=look, handle_in=part.handle_in))
            left += needed
        rows.append(row)
    return rows


def draw_key(figure: "Figure", rows: Sequence[Sequence[KeyItem]]) -> None:
    """Draws the key from the bottom edge upwards, in inches."""
    for number, row in enumerate(rows):
        for item in row:
            _draw_item(figure, item, 0.08 + LINE_IN * (len(rows) - number - 0.5))


def _draw_item(figure: "Figure", item: KeyItem, middle: float) -> None:
    from matplotlib.lines import Line2D

    inches: Any = {"transform": figure.dpi_scale_trans, "in_layout": False}
    left = item.left_in
    if item.look is None:
        figure.text(left, middle, item.text, weight="bold", va="center", **inches)
        return
    look = {**_HANDLE, **item.look}
    ends = [left, left + item.handle_in]
    if look.get("linestyle") == "none":
        ends = [left + item.handle_in / 2]
    figure.add_artist(Line2D(ends, [middle] * len(ends), **inches, **look))
    gap = 0.06 if item.handle_in else 0.0
    figure.text(left + item.handle_in + gap, middle, item.text, va="center", **inches)


def panels(figure: "Figure", number: int, columns: int, **shared: Any) -> "list[Axes]":
    """As many axes in a grid; the places that are left stay empty."""
    grid = figure.subplots(-(-number // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[number:]:
        axes.set_axis_off()
    return list(grid[:number])


def label_panels(grid: "Sequence[Axes]", columns: int, along: str, up: str) -> None:
    """Names the axes at the left edge, and those that nothing stands below, which carry ticks."""
    for place, axes in enumerate(grid):
        if place % columns == 0:
            axes.set_ylabel(up)
        if place + columns >= len(grid):
            axes.set_xlabel(along)
            axes.tick_params(labelbottom=True)


def plain_log_ticks(axis: "Axis") -> None:
    """Plain numbers along a logarithmic axis, and enough of them over less than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=_steps(high / low)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))


def _steps(ratio: float) -> tuple[float, ...]:
    """The ticks of a decade, by how much an axis spans."""
    if ratio < 8:
        return 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0
    if ratio < 60:
        return 1.0, 2.0, 5.0
    return (1.0, 3.0) if ratio < 2000 else (1.0,)
