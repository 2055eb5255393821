"""The table of `bench loaders`: pipelines ranked by images/s where intervals do not overlap."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from bench.errors import check_choice
from bench.process import signals_deferred
from bench.report.columns import Column
from bench.report.render import ABSENT, FORMS, Form, Row, Table, csv
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord, Series
from bench.store.store import Store

COLUMNS = {
    column.name: column
    for column in (
        Column(name="rank", header="rank", kind="count"),
        Column(name="pipeline", header="pipeline"),
        Column(name="batch_size", header="batch", kind="count", digits=0),
        Column(name="images_per_s", header="images/s", kind="time", digits=0),
        Column(name="interval", header="quartiles", kind="time"),
        Column(name="repeats", header="repeats", kind="count", digits=0),
        Column(name="reads", header="reads"),
        Column(name="first_batch_s", header="first batch s", kind="time", digits=3, priority=1),
        Column(name="compile_s", header="compile s", kind="time", digits=1, priority=4),
        Column(name="build_s", header="build s", kind="time", digits=3, priority=7),
        Column(name="host_gib", header="host GiB", kind="memory", digits=3, priority=3),
        Column(name="torch_gib", header="torch GiB", kind="memory", digits=3, priority=6),
        Column(name="device_gib", header="device GiB", kind="memory", digits=3, priority=3),
        Column(name="bytes_per_image", header="bytes/image", kind="count", digits=0, priority=8),
        Column(name="bandwidth_pct", header="% of bandwidth", kind="time", digits=2, priority=5),
        Column(name="draws", header="draws", priority=2),
        Column(name="notes", header="notes"),
    )
}
MAY_BE_EMPTY = ("compile_s", "host_gib", "torch_gib", "device_gib", "notes")
COMMON = ("source", "scale", "device", "precision", "augmentation")


def rows(record: LoadersRecord) -> list[Row]:
    """One row per series, by batch size and speed; those without a result come last."""
    sizes = sorted({series.batch_size for series in record.series})
    common = {name: getattr(record, name) for name in COMMON}
    return [common | row for size in sizes for row in _ranked(record, size)]


def _ranked(record: LoadersRecord, batch_size: int) -> list[Row]:
    """The rows of one batch size with their ranks; an interrupted series has none."""
    here = [_row(record, series) for series in record.series if series.batch_size == batch_size]
    measured = sorted(
        (row for row in here if row["images_per_s"] is not None),
        key=lambda row: -row["images_per_s"],
    )
    good = [row for row in measured if row["status"] == "ok"]
    if all(row["repeats"] >= LEAST_REPEATS for row in good):
        spans = ranks([(row["images_per_s_q1"], row["images_per_s_q3"]) for row in good])
    else:
        spans = [(1, len(good))] * len(good)
    for row, (first, last) in zip(good, spans, strict=True):
        row["rank"] = str(first) if first == last else f"{first}-{last}"
    unfinished = [row for row in measured if row["status"] != "ok"]
    rest = [row for row in here if row["images_per_s"] is None]
    return [*good, *unfinished, *sorted(rest, key=lambda row: row["pipeline"])]


def ranks(intervals: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """The highest and lowest possible rank of each interval (low, high); higher is better."""
    spans = []
    for low, high in intervals:
        above = sum(other_low > high for other_low, _ in intervals)
        below = sum(other_high < low for _, other_high in intervals)
        spans.append((1 + above, len(intervals) - below))
    return spans


def _row(record: LoadersRecord, series: Series) -> Row:
    """The results of a series; none if it failed, even after some repeats."""
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
    """Duration of the first batch beyond a later one; None if nothing is compiled."""
    if not series.compiled or series.first_batch_s is None:
        return None
    warm_s = statistics.median(repeat.batch_s for repeat in series.repeats)
    return max(0.0, series.first_batch_s - warm_s)


def draws(series: Series) -> str:
    """ "per sample", or the ops that draw once per batch; "" if unknown."""
    shared = [op for op, kind in series.draws.items() if kind != "per sample"]
    if shared:
        return f"per batch: {', '.join(shared)}"
    return "per sample" if series.draws or series.status == "ok" else ""


def title(record: LoadersRecord) -> str:
    """Machine, source and settings that all rows share."""
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
    """Notes on the table, a sentence each."""
    texts = []
    good = [row for row in found if row["rank"] is not None]
    if any(row["repeats"] < LEAST_REPEATS for row in good):
        texts.append(f"Series with fewer than {LEAST_REPEATS} repeats are not ranked.")
    elif any("-" in row["rank"] for row in good):
        texts.append(
            'Overlapping intervals are not ranked: "2-3" is second or third at its batch size.'
        )
    if len({row["repeats"] for row in good}) > 1:
        texts.append("Series with long repeats have fewer of them: see the repeats column.")
    if any(row["host_gib"] is not None for row in found):
        texts.append(
            "host GiB is the growth of the pipeline's own process; DataLoader workers are separate "
            "processes and are not counted."
        )
    return texts


def render(
    record: LoadersRecord, form: Form = "rich", *, width: int | None = None, color: bool = False
) -> str:
    """The table as text.

    Args:
        width, color: Properties of the terminal, for "rich".

    Raises:
        UsageError: An unknown form.
    """
    check_choice("format", form, FORMS)
    found = rows(record)
    if form == "json":
        return _json(record, found)
    if form == "csv":
        return csv(pd.DataFrame(found))
    cells = {name: [_text(name, row) for row in found] for name in COLUMNS}
    table = Table(
        title=title(record),
        columns={name: COLUMNS[name] for name in COLUMNS if is_informative(name, cells[name])},
        cells=cells,
        best={"images_per_s": [index for index, row in enumerate(found) if row["rank"] == "1"]},
        notes=notes(found),
    )
    return table.markdown() if form == "md" else table.terminal(width=width, color=color)


def is_informative(name: str, cells: Sequence[str]) -> bool:
    """Whether a column adds to the title."""
    if name == "reads":
        return "files" in cells
    if name == "repeats":
        return len({text for text in cells if text != "0"}) > 1
    return name not in MAY_BE_EMPTY or any(text not in ("", ABSENT) for text in cells)


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
    """The whole record, each series with the values of its row."""
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


def write_tables(store: Store, record: LoadersRecord) -> None:
    """Writes the record and its tables into the group folder.

    Raises:
        StoreError: The results folder cannot be written.
    """
    with signals_deferred():
        forms: tuple[Form, ...] = ("json", "csv", "md")
        for form in forms:
            store.write_derived(f"loaders.{form}", render(record, form))


def images_per_s(record: LoadersRecord) -> dict[str, dict[int, float]]:
    """Median images per second, by pipeline and batch size."""
    found: dict[str, dict[int, float]] = {}
    for row in rows(record):
        if row["images_per_s"] is not None:
            found.setdefault(row["pipeline"], {})[row["batch_size"]] = row["images_per_s"]
    return found
