"""A drawn figure as files: PNG for anywhere, SVG for a page."""

from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bench.report.figures.style import LINE_IN, Margins, Sketch, draw_key, key_rows
from bench.report.figures.svg import tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
