"""Pipelines alone as a table: their order, where their intervals let them have one.

Images a second against batch size, a line for each pipeline.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import pandas as pd

from bench.process import signals_deferred
from bench.report.render import ABSENT, Column, Form, TableError, as_terminal, csv, markdown
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord, Series
from bench.store.store import Store
from pipelines.catalog import unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]

COLUMNS = {
    "rank": Column(header="rank", right=True),
    "pipeline": Column(header="pipeline"),
    "batch_size": Column(header="batch", digits=0),
    "images_per_s": Column(header="images/s", digits=0),
    "interval": Column(header="quartiles", right=True),
    "repeats": Column(header="repeats", digits=0),
    "reads": Column(header="reads"),
    "first_batch_s": Column(header="first batch s", digits=3, priority=1),
    "compile_s": Column(header="compile s", digits=1, priority=4),
    "build_s": Column(header="build s", digits=3, priority=7),
    "host_gib": Column(header="host GiB", digits=3, priority=3),
    "torch_gib": Column(header="torch GiB", digits=3, priority=6),
    "device_gib": Column(header="device GiB", digits=3, priority=3),
    "bytes_per_image": Column(header="bytes/image", digits=0, priority=8),
    "bandwidth_pct": Column(header="% of bandwidth", digits=2, priority=5),
    "draws": Column(header="draws", priority=2),
    "notes": Column(header="notes"),
}
MAY_BE_EMPTY = ("compile_s", "host_gib", "torch_gib", "device_gib", "notes")
COMMON = ("source", "scale", "device", "precision", "augmentation")


def rows(record: LoadersRecord) -> list[Row]:
    """One row a series: by batch size, the quickest first, those without figures last."""
    found = [row for size in _sizes(record) for row in _ranked(record, size)]
    return [{name: getattr(record, name) for name in COMMON} | row for row in found]


def _sizes(record: LoadersRecord) -> list[int]:
    return sorted({series.batch_size for series in record.series})


def _ranked(record: LoadersRecord, batch_size: int) -> list[Row]:
    """The rows of one batch size with their ranks; what was interrupted has none."""
    here = [_row(record, series) for series in record.series if series.batch_size == batch_size]
    figured = sorted(
        (row for row in here if row["images_per_s"] is not None),
        key=lambda row: -row["images_per_s"],
    )
    good = [row for row in figured if row["status"] == "ok"]
    if all(row["repeats"] >= LEAST_REPEATS for row in good):
        spans = ranks([(row["images_per_s_q1"], row["images_per_s_q3"]) for row in good])
    else:
        spans = [(1, len(good))] * len(good)
    for row, (first, last) in zip(good, spans, strict=True):
        row["rank"] = str(first) if first == last else f"{first}-{last}"
    unfinished = [row for row in figured if row["status"] != "ok"]
    rest = [row for row in here if row["images_per_s"] is None]
    return [*good, *unfinished, *sorted(rest, key=lambda row: row["pipeline"])]


def ranks(intervals: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """The highest and the lowest rank that each could have; the same where nothing overlaps it.

    Args:
        intervals: Lower and upper end of each; more is better. Ends that touch overlap.
    """
    spans = []
    for low, high in intervals:
        above = sum(other_low > high for other_low, _ in intervals)
        below = sum(other_high < low for _, other_high in intervals)
        spans.append((1 + above, len(intervals) - below))
    return spans


def _row(record: LoadersRecord, series: Series) -> Row:
    """The figures of a series; one that failed has none, whatever it did before."""
    ok = series.status in ("ok", "interrupted") and bool(series.repeats)
    rates = [repeat.images_per_s for repeat in series.repeats] if ok else []
    low, median, high = quartiles(rates) if rates else (None, None, None)
    share = None
    if median is not None and series.bytes_per_image is not None and record.bandwidth_gb_per_s:
        share = 100 * median * series.bytes_per_image / (1e9 * record.bandwidth_gb_per_s)
    return {
        "rank": None,
        "pipeline": series.pipeline,
        "batch_size": series.batch_size,
        "images_per_s": median,
        "images_per_s_q1": low,
        "images_per_s_q3": high,
        "repeats": len(series.repeats),
        "reads": series.reads,
        "first_batch_s": series.first_batch_s,
        "compile_s": compile_s(series) if ok else None,
        "build_s": series.build_s,
        "host_gib": series.memory.host_gib,
        "torch_gib": series.memory.torch_gib,
        "device_gib": series.memory.device_gib,
        "bytes_per_image": series.bytes_per_image,
        "bandwidth_pct": share,
        "draws": draws(series),
        "status": series.status,
        "reason": series.reason,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; a single value is all three."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return low, median, high


def compile_s(series: Series) -> float | None:
    """What the first batch took beyond a later one; None for a variant that compiles nothing."""
    if not series.compiled or series.first_batch_s is None:
        return None
    warm_s = statistics.median(repeat.batch_s for repeat in series.repeats)
    return max(0.0, series.first_batch_s - warm_s)


def draws(series: Series) -> str:
    """ "per sample", or the ops of which a whole batch shares its draws; "" when not known."""
    shared = [op for op, kind in series.draws.items() if kind != "per sample"]
    if shared:
        return f"per batch: {', '.join(shared)}"
    return "per sample" if series.draws or series.status == "ok" else ""


def title(record: LoadersRecord) -> str:
    """Machine, source and what else all rows share."""
    environment = record.environment
    cpu = f"{environment.get('cpu')}, {environment.get('cores')} cores"
    height, width = record.image_size
    parts = [
        "pipelines alone",
        str(environment.get("gpu") or cpu),
        f"{record.scale} scale",
        f"{record.source}, {record.images} images of {width}x{height}",
        record.augmentation,
        record.precision,
        f"repeats of {record.repeat_s:g} s",
        f"memory {record.bandwidth_gb_per_s:.1f} GB/s",
        f"torch {environment.get('torch')}",
    ]
    return " | ".join(parts)


def notes(found: Sequence[Row]) -> list[str]:
    """What must be known to read the table, a sentence each."""
    said = []
    good = [row for row in found if row["rank"] is not None]
    if any(row["repeats"] < LEAST_REPEATS for row in good):
        said.append(f"Fewer than {LEAST_REPEATS} repeats are not ranked.")
    elif any("-" in row["rank"] for row in good):
        said.append(
            'Overlapping intervals are not ranked: "2-3" may be the second or the third at its '
            "batch size."
        )
    if len({row["repeats"] for row in good}) > 1:
        said.append("A series whose repeats take long gets fewer of them: see repeats.")
    if any(row["host_gib"] is not None for row in found):
        said.append(
            "host GiB is the pipeline's own process above what it held before; workers of a "
            "DataLoader are other processes."
        )
    return said


def render(
    record: LoadersRecord, form: Form = "rich", *, width: int | None = None, color: bool = False
) -> str:
    """The table as text.

    Args:
        record: What was measured.
        form: "rich" for a terminal, "md", "csv" or "json".
        width: Characters that "rich" may use; None for as many as it takes.
        color: Whether "rich" may use bold and colours.

    Raises:
        TableError: An unknown form.
    """
    check_form(form)
    found = rows(record)
    if form == "json":
        return _json(record, found)
    if form == "csv":
        return csv(pd.DataFrame(found))
    cells = {name: [_text(name, row) for row in found] for name in COLUMNS}
    columns = {name: column for name, column in COLUMNS.items() if tells(name, cells[name])}
    first = [index for index, row in enumerate(found) if row["rank"] == "1"]
    best = dict.fromkeys(COLUMNS, ()) | {"images_per_s": first}
    if form == "md":
        table = markdown(title(record), columns, cells, best)
        return "\n".join([table, *(f"{note}\n" for note in notes(found))])
    table = as_terminal(title(record), columns, cells, best, width=width, color=color)
    return table + "".join(f"{note}\n" for note in notes(found))


def tells(name: str, cells: Sequence[str]) -> bool:
    """Whether a column says anything that the title does not."""
    if name == "reads":
        return "files" in cells
    if name == "repeats":
        return len({text for text in cells if text != "0"}) > 1
    return name not in MAY_BE_EMPTY or any(text not in ("", ABSENT) for text in cells)


def check_form(form: str) -> None:
    """Refuses a form that there is none of.

    Raises:
        TableError: The form is unknown.
    """
    if form not in get_args(Form):
        raise TableError(unknown_name("table format", form, list(get_args(Form))))


def _text(name: str, row: Row) -> str:
    if name == "interval":
        low, high = row["images_per_s_q1"], row["images_per_s_q3"]
        return ABSENT if low is None else f"{low:.0f} to {high:.0f}"
    if name == "notes":
        bad = row["status"] != "ok"
        return ": ".join(filter(None, (row["status"], row["reason"]))) if bad else ""
    value = row[name]
    if value is None or value == "":
        return ABSENT
    digits = COLUMNS[name].digits
    return str(value) if digits is None else f"{value:.{digits}f}"


def _json(record: LoadersRecord, found: list[Row]) -> str:
    """Everything that was recorded, each series with its row's figures."""
    whole: dict[str, Any] = msgspec.to_builtins(record)
    repeats = {(series["pipeline"], series["batch_size"]): series for series in whole.pop("series")}
    full = []
    for row in found:
        series = repeats[row["pipeline"], row["batch_size"]]
        figures = {name: value for name, value in row.items() if name not in COMMON}
        per_op = {"draws_by_op": series["draws"], "compiled": series["compiled"]}
        full.append(figures | per_op | {"repeats": series["repeats"]})
    whole |= {"title": title(record), "notes": notes(found), "rows": full}
    return json.dumps(whole, indent=1) + "\n"


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


def write_tables(store: Store, record: LoadersRecord) -> None:
    """Leaves the record, its tables and its plot in the group folder.

    Raises:
        StoreError: The results folder cannot be written.
    """
    with signals_deferred():
        for form in ("json", "csv", "md"):
            store.write_derived(f"loaders.{form}", render(record, form))
        for form, content in draw(record).items():
            store.write_derived(f"loaders.{form}", content)


def images_per_s(record: LoadersRecord) -> dict[str, dict[int, float]]:
    """Median images a second of what was measured: pipeline to batch size to rate."""
    found: dict[str, dict[int, float]] = {}
    for row in rows(record):
        if row["images_per_s"] is not None:
            found.setdefault(row["pipeline"], {})[row["batch_size"]] = row["images_per_s"]
    return found
