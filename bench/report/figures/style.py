"""How figures look, their keys, and how they become files: PNG to save, SVG for the page."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from zlib import crc32

from bench.record import Record
from bench.report.columns import Metric
from bench.report.rows import Outcome

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
GREY = PALETTE[7]
DASHES: tuple[Any, ...] = (
    "-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)),
    (0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 3)), (0, (9, 2, 2, 2)),
)  # fmt: skip
MARKERS = "osD^vP*X<>hp"
FOREGROUND = "#010203"  # stands for the page's text colour, in figures.mplstyle too
FONT = "'DejaVu Sans'"  # comes with matplotlib; Verdana is as wide
SIZE = 8.0  # of text, in points
SMALL = 7.0
POINTS = 72  # per inch
LINE_IN = 0.19  # height of a line of the key
LETTER_IN = 0.064  # width of a letter of normal size, at most, on average
LETTERS_PER_IN = 16.5  # of the small size
PHONE = 366  # pixels; what would be wider when its text can be read scrolls there
READABLE = 8.8  # pixels
NAME_LENGTH = 32  # characters of a name in a figure

HANDLE_IN = 0.3  # length of the lines in the key
HANDLE: Mapping[str, Any] = {"color": FOREGROUND, "linewidth": 1.5, "markersize": 5}

Looks = Mapping[str, Mapping[str, Any]]  # name to arguments of its `Line2D`
Levels = Mapping[str, Any]  # name of a level to its colour or marker
Outcomes = Sequence[Outcome[Record]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the key: what one visual property means."""

    title: str
    looks: Looks
    gids: Mapping[str, str] | None = None  # of the entries; None if the names are levels


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A figure that is drawn but not saved."""

    name: str  # of its files
    title: str
    caption: str
    figure: "Figure"
    sections: tuple[Section, ...] = ()  # the key below it


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A saved figure of one group. Its texts are not HTML yet."""

    name: str  # of its files, without suffix
    title: str
    caption: str
    svg: str  # an element for a page: no fixed size, no background, text in the page's colour
    png: bytes  # on white, with the title and the group above it


@contextmanager
def settings() -> Iterator[None]:
    """Applies the suite's settings of matplotlib instead of the user's own."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rc_file(Path(__file__).with_name("figures.mplstyle"))
        # For a name in a script that the font lacks, PNGs show boxes, SVGs take another font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def shown_name(text: str, length: int | None = NAME_LENGTH) -> str:
    """A text from a record on one line, without unprintable characters, shortened in its middle."""
    clean = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    if length is None or len(clean) <= length:
        return clean
    head = 2 * length // 3
    return f"{clean[:head]}…{clean[head + 1 - length :]}"


def toward_better(label: str, *, higher: bool) -> str:
    """The label of an axis with an arrow to its better end."""
    return f"{label} → better" if higher else f"better ← {label}"


def axis_label(metric: Metric) -> str:
    """The name of a metric with its unit: "peak memory (GiB)"."""
    unit = metric.header.split()[-1]
    return metric.label if metric.label == unit else f"{metric.label} ({unit})"


def canvas(
    width_in: float, height_in: float, *, panels: int = 1, columns: int = 1, **shared: Any
) -> "tuple[Figure, list[Axes]]":
    """An empty figure and its axes in a grid, whose last places may stay empty."""
    from matplotlib.figure import Figure  # pyplot would look for a window

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    grid = figure.subplots(-(-panels // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, list(grid[:panels])


def gid(outcomes: Outcomes) -> str:
    """An id that says which cells a drawn thing shows; `tidy` turns it into `data-cells`."""
    return f"cells:{' '.join(outcome.id for outcome in outcomes)}"


def each_gid(groups: Iterable[Outcomes]) -> str:
    """The same for a collection, each of whose members shows a group of cells."""
    return f"each:{';'.join(map(gid, groups)).replace('cells:', '')}"


def cycle(levels: Sequence[str], looks: Sequence[Any]) -> dict[str, Any]:
    """A colour, marker or line style for each level; they repeat if there are more levels."""
    return {level: looks[number % len(looks)] for number, level in enumerate(levels)}


def colour_key(title: str, colours: Mapping[str, Any], **gids: Any) -> Section:
    """The part of a key that explains colours."""
    look = {"linewidth": 6, "solid_capstyle": "butt"}
    return Section(title=title, looks={n: look | {"color": c} for n, c in colours.items()}, **gids)


def rows(
    axes: "Axes", names: Sequence[str], notes: Sequence[str], gids: Sequence[str | None],
    size: float = SIZE, ends: Sequence[float] = (),
) -> None:  # fmt: skip
    """Names rows from the top down, with a note to the right or at the `ends` of bars.

    Headings have no cells.
    """
    axes.set_yticks(range(len(names)), names, size=size)
    for row, (label, note, own) in enumerate(zip(axes.get_yticklabels(), notes, gids, strict=True)):
        label.set(gid=own, weight="bold" if own is None else "normal")
        place = (ends[row] if ends else 1, row)
        axes.annotate(
            note, place, xycoords="data" if ends else ("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", size=size if ends else SMALL, gid=own,
        )  # fmt: skip
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def bars(axes: "Axes", values: Iterable[float], gids: Sequence[str], **look: Any) -> None:
    """Horizontal bars that belong to cells."""
    for bar, own in zip(axes.barh(range(len(gids)), [*values], **look), gids, strict=True):
        bar.set_gid(own)


def log_scale(axis: "Axis") -> None:
    """Makes an axis logarithmic, with plain numbers as ticks, several even within a decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if high / low < 60 else (1.0, 3.0) if high / low < 2000 else (1.0,)
    few = high / low < 6
    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]) if few else LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))


def picture(sketch: Sketch, *, group: str, digest: str) -> Picture:
    """Saves a sketch, always as the same bytes; `digest` keeps ids in the SVG unique on a page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    header, header_in = lay_out(sketch, group)
    # The canvases themselves: `savefig` would draw everything twice.
    png = BytesIO()
    sketch.figure.set_facecolor("white")
    agg: Any = FigureCanvasAgg(sketch.figure)
    agg.print_png(png, metadata={"Software": None})
    for text in header:
        text.remove()
    return Picture(
        name=sketch.name,
        title=sketch.title,
        caption=sketch.caption,
        svg=vector(sketch, digest, cut_top=header_in * POINTS),
        png=png.getvalue(),
    )


def vector(sketch: Sketch, digest: str, cut_top: float = 0.0) -> str:
    """The SVG of a sketch for a page, without `cut_top` points at the top."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg = BytesIO()
    sketch.figure.set_facecolor("none")
    backend: Any = FigureCanvasSVG(sketch.figure)
    backend.print_svg(svg, metadata={"Date": None})
    prefix = f"i{crc32(f'{sketch.name}-{digest}'.encode()):08x}"
    return tidy(svg.getvalue().decode(), prefix, label=sketch.title, cut_top=cut_top)


def lay_out(sketch: Sketch, group: str) -> tuple[list[Any], float]:
    """Adds the key below and the header above; returns the header's texts and height in inches."""
    figure = sketch.figure
    figure.set_dpi(150)  # hinting changes the width of texts with the resolution
    width, body = map(float, figure.get_size_inches())
    titles = wrap(sketch.title, int(width * 12))
    lines = wrap(group, int(width * LETTERS_PER_IN))
    header_in = 0.12 + 0.2 * len(titles) + 0.13 * len(lines) + 0.05
    key_in = _draw_key(figure, sketch.sections, width)
    height = header_in + body + key_in
    figure.set_size_inches(width, height)
    at: dict[str, Any] = {"transform": figure.dpi_scale_trans, "va": "top", "in_layout": False}
    header = [
        figure.text(0.1, height - 0.1, "\n".join(titles), size=10, weight="bold", **at),
        figure.text(0.1, height - 0.12 - 0.2 * len(titles), "\n".join(lines), size=SMALL, **at),
    ]
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, key_in / height, 1, body / height))
    engine.execute(figure)
    figure.set_layout_engine("none")
    return header, header_in


def _draw_key(figure: "Figure", sections: Sequence[Section], width_in: float) -> float:
    """Draws a legend for each section, from the bottom up; returns the height of all, in inches."""
    from matplotlib.lines import Line2D

    top_in = 0.1 if sections else 0.0
    for section in reversed(sections):
        names = [shown_name(name, int((width_in - 0.7) / LETTER_IN)) for name in section.looks]
        entry_in = HANDLE_IN + LETTER_IN * max(map(len, names)) + 0.26
        columns = min(len(names), max(1, int((width_in - 0.1) / entry_in)))
        legend = figure.legend(
            [Line2D([], [], **{**HANDLE, **look}) for look in section.looks.values()],
            names,
            title=section.title,
            title_fontproperties={"weight": "bold", "size": SIZE},
            alignment="left",
            bbox_to_anchor=(0.1, top_in),
            bbox_transform=figure.dpi_scale_trans,
            ncols=columns,
            handlelength=HANDLE_IN * POINTS / SIZE,
        )
        legend.set_in_layout(False)
        entries = zip(section.looks, legend.legend_handles, legend.get_texts(), strict=True)
        for name, handle, text in entries:
            level = f"level:{shown_name(name, length=None)}"
            for artist in filter(None, (handle, text)):
                artist.set_gid(level if section.gids is None else section.gids.get(name))
        top_in += LINE_IN * (1 + -(-len(names) // columns))
    return top_in


SCALE = 1.6  # pixels of the page for each point, at most
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r'(?:url\(|href=")#([^")]+)')
_FONT_SIZE = re.compile(r"font[^;\"]*?([\d.]+)px")
_NUMBER = re.compile(r"-?\d+\.\d+")


def tidy(svg: str, prefix: str, *, label: str, cut_top: float) -> str:
    """Matplotlib's SVG as an element for a page: scalable, and text in the page's colour.

    Ids of cells and levels become `data-cells` and `data-level`. Of the others, those that are used
    get a prefix and a number: matplotlib's are hashes of coordinates, whose last digits may vary.

    Args:
        prefix: Makes the ids unique on a page.
        label: A description for screen readers.
        cut_top: Points to leave out at the top.
    """
    for number, name in enumerate(dict.fromkeys(_REFERENCE.findall(svg))):
        svg = svg.replace(name, f"{prefix}-{number}")
    used = set(_REFERENCE.findall(svg))
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name.startswith("data-"):
                continue
            if name == "id" and value not in used:
                del element.attrib[name]
                _set_data(element, value)
            elif name in ("d", "x", "y"):
                element.set(name, _NUMBER.sub(_hundredths, value))
            else:
                value = value.replace(FONT, f"{FONT}, Verdana, sans-serif")
                element.set(name, value.replace(FOREGROUND, "currentColor"))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    root.attrib = {
        "viewBox": f"0 {cut_top:g} {width:g} {height - cut_top:g}",
        "role": "img",
        "aria-label": label,
        "style": f"width: 100%; max-width: {width * SCALE:.0f}px; height: auto",
    }
    least = width * READABLE / min(map(float, _FONT_SIZE.findall(svg)), default=SIZE)
    if least > PHONE:
        root.attrib["data-wide"] = ""
        root.attrib["style"] += f"; min-width: {least:.0f}px"
    return ElementTree.tostring(root, encoding="unicode")


def _set_data(element: ElementTree.Element, gid: str) -> None:
    kind, _, value = gid.partition(":")
    if kind in ("cells", "level"):
        element.set(f"data-{kind}", value)
    elif kind == "each":
        members = [child for child in element if child.tag != f"{{{SVG}}}defs"]
        for member, ids in zip(members, value.split(";"), strict=True):
            member.set("data-cells", ids)


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
