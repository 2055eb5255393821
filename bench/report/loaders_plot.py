"""Images a second against batch size, a line for each pipeline."""

from collections import defaultdict
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING

from bench.loader_record import LoadersRecord
from bench.report.loaders import Row, rows, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X<>hp"
FORMS = ("png", "svg")


def draw(record: LoadersRecord) -> dict[str, bytes]:
    """The plot as files: "png" and "svg" to their content. Bars span the quartiles."""
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot: it would look for a window
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    lines = _lines(rows(record))
    with matplotlib.rc_context({"svg.hashsalt": "loaders", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots()
        for number, (pipeline, points) in enumerate(lines.items()):
            middle = [point["images_per_s"] for point in points]
            below = [point["images_per_s"] - point["images_per_s_q1"] for point in points]
            above = [point["images_per_s_q3"] - point["images_per_s"] for point in points]
            axes.errorbar(
                [point["batch_size"] for point in points],
                middle,
                yerr=[below, above],
                label=pipeline,
                color=f"C{number % 10}",
                marker=MARKERS[number % len(MARKERS)],
                linestyle=("-", "--", ":")[number // 10 % 3],
                capsize=4,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = sorted({series.batch_size for series in record.series})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        low, high = axes.get_ylim()
        between = (1.0, 2.0, 5.0) if high > 10 * low else (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        axes.yaxis.set_major_locator(LogLocator(subs=between))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.minorticks_off()
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.set_xlabel("batch size (images)")
        axes.set_ylabel("images/s (median and quartiles)")
        figure.suptitle("\n".join(wrap(title(record), 110)), fontsize=9)
        if lines:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        return {form: _saved(figure, form) for form in FORMS}


def _lines(found: list[Row]) -> dict[str, list[Row]]:
    """Pipeline to its points, in the order in which the lines end on the right."""
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        if row["rank"] is not None:  # a point cannot say that it was interrupted
            lines[row["pipeline"]].append(row)
    return dict(sorted(lines.items(), key=lambda line: -line[1][-1]["images_per_s"]))


def _saved(figure: "Figure", form: str) -> bytes:
    out = BytesIO()
    metadata = {"Date": None} if form == "svg" else None  # the same figures give the same file
    figure.savefig(out, format=form, dpi=150, metadata=metadata)
    return out.getvalue()
