"""How figures look, their keys, and how they become files: PNG for anywhere, SVG for the page."""

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
SMALL = 6.5
DPI = 150
POINTS = 72  # per inch
LINE_IN = 0.19  # height of a line of the key
LETTER_IN = 0.064  # width of a letter of normal size, at most, on average
LETTERS_PER_IN = 17.5  # of the small size
WIDE = 340  # points; wider figures scroll on a telephone
READABLE = 1.15  # pixels per point at which small text can be read
NAME_LENGTH = 32  # characters of a name in a figure

_HANDLE: dict[str, Any] = {
    "color": FOREGROUND,
    "linewidth": 1.5,
    "markersize": 5,
    "solid_capstyle": "butt",
}


Looks = Mapping[str, Mapping[str, Any]]  # name to arguments of its `Line2D`


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the key: what one visual property means."""

    title: str
    looks: Looks
    handle_in: float = 0.34  # length of the lines
    length: int = NAME_LENGTH  # of a name, at most
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


def canvas(
    width_in: float, height_in: float, *, panels: int = 1, columns: int = 1, **shared: Any
) -> "tuple[Figure, list[Axes]]":
    """An empty figure and its axes in a grid, whose last places may stay empty.

    Without pyplot, which would look for a window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    grid = figure.subplots(-(-panels // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[panels:]:
        axes.set_axis_off()
    return figure, list(grid[:panels])


def cells_gid(ids: Iterable[str]) -> str:
    """Marks a drawn thing as belonging to these cells, in the SVG as `data-cells`."""
    return f"cells:{' '.join(ids)}"


def each_gid(groups: Iterable[Iterable[str]]) -> str:
    """Marks the members of a collection, one group of cells for each."""
    return f"each:{';'.join(map(' '.join, groups))}"


def level_gid(name: str) -> str:
    """Marks an entry of a key as standing for a level, in the SVG as `data-level`."""
    return f"level:{shown_name(name, length=None)}"


def cycle(levels: Sequence[str], looks: Sequence[Any]) -> dict[str, Any]:
    """A colour, marker or line style for each level; they repeat if there are more levels."""
    return {level: looks[number % len(looks)] for number, level in enumerate(levels)}


def colour_key(
    title: str, colours: Mapping[str, Any], gids: Mapping[str, str] | None = None
) -> Section:
    """The part of a key that explains colours."""
    looks = {name: {"color": colour, "linewidth": 6} for name, colour in colours.items()}
    return Section(title=title, looks=looks, handle_in=0.2, gids=gids)


def name_rows(axes: "Axes", names: Sequence[str], gids: Sequence[str], size: float = SIZE) -> None:
    """Names horizontal bars or rows of marks from the top down."""
    axes.set_yticks(range(len(names)), names, size=size)
    for label, gid in zip(axes.get_yticklabels(), gids, strict=True):
        label.set_gid(gid)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")


def note_row(axes: "Axes", row: int, text: str, **style: Any) -> None:
    """Writes to the right of a row."""
    axes.annotate(
        text, (1, row), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", size=SMALL, **style,
    )  # fmt: skip


def plain_log_ticks(axis: "Axis") -> None:
    """Plain numbers along a logarithmic axis, and enough of them over less than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    low, high = axis.get_view_interval()
    steps: tuple[float, ...] = (1.0, 3.0) if high / low < 2000 else (1.0,)
    if high / low < 60:
        steps = (1.0, 2.0, 5.0)
    if high / low < 8:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))


def picture(sketch: Sketch, *, group: str, mark: str) -> Picture:
    """Saves a sketch; the same sketch gives the same bytes.

    Args:
        sketch: To save.
        group: Machine, scale and source, which the PNG shows below the title.
        mark: Hash of the records; it keeps ids in the SVG unique on a page.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    header, header_in = _lay_out(sketch, group)
    figure = sketch.figure
    with matplotlib.rc_context({"svg.hashsalt": f"{sketch.name}-{mark}"}):
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
        svg=tidy(svg.getvalue(), label=sketch.title, cut_top=header_in * POINTS),
        png=png.getvalue(),
    )


def _lay_out(sketch: Sketch, group: str) -> tuple[list[Any], float]:
    """Adds the key below and the header above; returns the header's texts and height."""
    figure = sketch.figure
    figure.set_dpi(DPI)  # hinting changes the width of texts with the resolution
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
        names = [shown_name(name, section.length) for name in section.looks]
        entry_in = section.handle_in + LETTER_IN * max(map(len, names)) + 0.26
        columns = min(len(names), max(1, int((width_in - 0.1) / entry_in)))
        legend = figure.legend(
            [Line2D([], [], **{**_HANDLE, **look}) for look in section.looks.values()],
            names,
            title=section.title,
            title_fontproperties={"weight": "bold", "size": SIZE},
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(0.1, top_in),
            bbox_transform=figure.dpi_scale_trans,
            ncols=columns,
            handlelength=section.handle_in * POINTS / SIZE,
            handletextpad=0.6 if section.handle_in else 0.0,
            columnspacing=1.2,
            borderpad=0,
            borderaxespad=0,
            frameon=False,
        )
        legend.set_in_layout(False)
        for name, handle, text in zip(
            section.looks, legend.legend_handles, legend.get_texts(), strict=True
        ):
            gid = level_gid(name) if section.gids is None else section.gids.get(name)
            for artist in filter(None, (handle, text)):
                artist.set_gid(gid)
        top_in += LINE_IN * (1 + -(-len(names) // columns))
    return top_in


SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r'(?:url\(|href=")#([^")]+)')
_NUMBER = re.compile(r"-?\d+\.\d+")


def tidy(svg: bytes, *, label: str, cut_top: float) -> str:
    """Matplotlib's SVG as an element for a page: scalable, and text in the page's colour.

    Ids of cells and levels become `data-cells` and `data-level`. Others that nothing refers to are
    the same in all figures and go; the rest are salted hashes.

    Args:
        svg: As matplotlib wrote it.
        label: For screen readers.
        cut_top: Points to leave out at the top.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    used = set(_REFERENCE.findall(svg.decode()))
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
        "style": f"width: 100%; max-width: {width * 1.6:.0f}px; height: auto",
        "role": "img",
        "aria-label": label,
    }
    if width > WIDE:
        root.attrib["data-wide"] = ""
        root.attrib["style"] += f"; min-width: {width * READABLE:.0f}px"
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
