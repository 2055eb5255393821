"""How pictures look: colours for every eye and for dark and light pages, names as they are.

Makes matplotlib's SVG fit to stand in a page: own ids, the page's colour, a size that scales.

A drawn figure as files: PNG for anywhere, SVG for a page.

Crowded panels: the best cells in colour, the others thin and grey, so that lines can be told.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bench.report.figures.comparison import Case, shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
FOREGROUND = "#010203"  # drawn where the page's own text colour is to stand
FONT = "'DejaVu Sans'"  # comes with matplotlib; Verdana, where that is missing, is as wide

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_INK = re.compile(rf"{FOREGROUND}\b")
_NUMBER = re.compile(r"-?\d+\.\d+")
_UNUSED = ("version",)


def tidy(svg: bytes, *, prefix: str, label: str, cut_top: float) -> str:
    """The SVG element, without an XML declaration.

    Args:
        svg: As matplotlib wrote it.
        prefix: Stands before every id, so that pictures of one page do not share any.
        label: What a screen reader says.
        cut_top: Points to leave out at the top.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    _remove_metadata(root)
    _set_size(root, cut_top)
    root.set("role", "img")
    root.set("aria-label", label)
    used = _references(root)
    for element in root.iter():
        _mend(element, prefix, used)
    return ElementTree.tostring(root, encoding="unicode")


def _remove_metadata(root: ElementTree.Element) -> None:
    for found in root.findall(f"{{{SVG}}}metadata"):
        root.remove(found)


def _set_size(root: ElementTree.Element, cut_top: float) -> None:
    """A viewBox alone: as wide as its place, but no wider than it was drawn for."""
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    root.set("viewBox", f"0 {cut_top:g} {width:g} {height - cut_top:g}")
    for name in ("width", "height", *_UNUSED):
        root.attrib.pop(name, None)
    root.set("style", f"width: 100%; max-width: {width * 1.6:.0f}px; height: auto")


def _references(root: ElementTree.Element) -> set[str]:
    used = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == f"{{{XLINK}}}href" and value.startswith("#"):
                used.add(value[1:])
            used.update(_REFERENCE.findall(value))
    return used


def _mend(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Attributes only: what people read is left as it is."""
    for name, value in list(element.attrib.items()):
        if name == "aria-label":
            continue
        if name == "id":
            if value in used:
                element.set(name, f"{prefix}-{value}")
            else:
                del element.attrib[name]
        elif name == f"{{{XLINK}}}href":
            if value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
        else:
            value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            value = _INK.sub("currentColor", value)
            value = value.replace(FONT, f"{FONT}, Verdana, sans-serif")
            element.set(name, _rounded(value) if name in ("d", "x", "y") else value)


def _rounded(text: str) -> str:
    """Hundredths of a point are enough."""
    return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


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


DPI = 150
POINTS = 72  # an inch
SMALL = 6.5
LETTERS_PER_IN = 17.5  # of the small size


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of one group. Texts are plain: whoever puts them into HTML escapes them.

    Args:
        name: Of its files, without a suffix.
        title: What it shows, in a few words.
        caption: What is drawn, over which cells and seeds, of which machine and scale.
        svg: An element to put into a page: no size, no background, text in the page's colour.
        png: On white, with the title and the group above it.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def picture(sketch: Sketch, *, group: str, mark: str) -> Picture:
    """Saves a sketch; the same sketch gives the same bytes.

    Args:
        sketch: To be saved.
        group: What stands under the title of the PNG: machine, scale, source.
        mark: Of the records it is drawn from, for ids that no other picture has.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    header, header_in = _lay_out(sketch, group)
    figure = sketch.figure
    prefix = f"{sketch.name}-{mark}"
    with matplotlib.rc_context({"svg.hashsalt": prefix}):
        # The canvases themselves: `savefig` would draw everything twice.
        png, svg = BytesIO(), BytesIO()
        figure.set_facecolor("white")
        agg: Any = FigureCanvasAgg(figure)
        agg.print_png(png, metadata={"Software": None})
        for text in header:
            text.remove()
        figure.set_facecolor("none")
        vector: Any = FigureCanvasSVG(figure)
        vector.print_svg(svg, metadata={"Date": None})
    return Picture(
        name=sketch.name,
        title=sketch.title,
        caption=sketch.caption,
        svg=tidy(svg.getvalue(), prefix=prefix, label=sketch.title, cut_top=header_in * POINTS),
        png=png.getvalue(),
    )


def _lay_out(sketch: Sketch, group: str) -> tuple[list[Any], float]:
    """Makes room for header and key and fills it; gives the header's texts and its height."""
    figure = sketch.figure
    figure.set_dpi(DPI)  # hinting makes texts a little wider or narrower than at others
    width, body = map(float, figure.get_size_inches())
    rows = key_rows(sketch.sections, width)
    titles = wrap(sketch.title, int(width * 12))
    lines = wrap(group, int(width * LETTERS_PER_IN))
    header_in = 0.12 + 0.2 * len(titles) + 0.13 * len(lines) + 0.05
    key_in = LINE_IN * len(rows) + 0.1 if rows else 0.0
    height = header_in + body + key_in
    figure.set_size_inches(width, height)
    draw_key(figure, rows)
    at: dict[str, Any] = {"transform": figure.dpi_scale_trans, "va": "top", "in_layout": False}
    header = [
        figure.text(0.1, height - 0.1, "\n".join(titles), size=10, weight="bold", **at),
        figure.text(0.1, height - 0.12 - 0.2 * len(titles), "\n".join(lines), size=SMALL, **at),
    ]
    if sketch.margins is not None:
        _adjust(figure, sketch.margins, key_in, body)
    else:
        engine: Any = figure.get_layout_engine()
        engine.set(rect=(0, key_in / height, 1, body / height))
        engine.execute(figure)
        figure.set_layout_engine("none")
    return header, header_in


def _adjust(figure: "Figure", margins: Margins, key_in: float, body: float) -> None:
    """Places panels by their margins."""
    width, height = map(float, figure.get_size_inches())
    grid = figure.axes[0].get_subplotspec()
    assert grid is not None
    rows, columns = grid.get_gridspec().get_geometry()
    panel_in = (width - margins.left - margins.right - margins.across * (columns - 1)) / columns
    tall_in = (body - margins.bottom - margins.top - margins.down * (rows - 1)) / rows
    figure.set_layout_engine(None)
    figure.subplots_adjust(
        left=margins.left / width,
        right=1 - margins.right / width,
        bottom=(key_in + margins.bottom) / height,
        top=(key_in + body - margins.top) / height,
        wspace=margins.across / panel_in,
        hspace=margins.down / tall_in,
    )


MOST_LINES = 16  # that colours and dashes tell apart in one panel
FOREMOST = 8  # of more
BEHIND = PALETTE[7]


def foremost(cases: Sequence[Case]) -> list[Case]:
    """The cells of a panel to draw in colour: all of a few, of many the most accurate.

    By test accuracy whatever is drawn, so that all pictures of a net show the same cells.
    """
    good = [case for case in cases if case.good]
    if len(good) <= MOST_LINES:
        return good
    return sorted(good, key=lambda case: (-(case.mean("accuracy") or 0.0), case.label))[:FOREMOST]


def said(panels: Iterable[Sequence[Case]]) -> str:
    """What a caption says of crowded panels; "" where there are none."""
    counts = [sum(bool(case.good) for case in cases) for cases in panels]
    behind = sum(number - FOREMOST for number in counts if number > MOST_LINES)
    if not behind:
        return ""
    return (
        f" In a panel of more than {MOST_LINES} cells the {FOREMOST} with the best test accuracy "
        f"are in colour and the others thin and grey, {behind} in all."
    )


def key(panels: Iterable[Sequence[Case]]) -> tuple[Section, ...]:
    """What thin and grey means, where something is."""
    if not said(panels):
        return ()
    look = {"color": BEHIND, "linewidth": 0.8}
    return (Section(title="the others", entries=(("of a crowded panel", look),)),)
