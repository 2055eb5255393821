"""The table of `bench loaders`: pipelines ranked by images/s where intervals do not overlap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bench.process import signals_deferred
from bench.record import op_differences
from bench.report.columns import Column
from bench.report.render import ABSENT, FORMS, Form, Row, Table, csv
from bench.report.rows import by_kind
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord, Series, as_json, ranks
from bench.store.store import Store

COLUMNS = {
    column.name: column
    for column in (
        Column(name="rank", header="rank", kind="count"),
        Column(name="pipeline", header="pipeline"),
        Column(name="batch_size", header="batch", kind="count", digits=0),
        Column(name="images_per_s", header="images/s", kind="time", digits=0),
        Column(name="cold_images_per_s", header="cold images/s", kind="time", digits=0),
        Column(name="cpu_s_per_1000", header="CPU s/1000 images", kind="time", digits=3),
        Column(name="interval", header="quartiles", kind="time", priority=1),
        Column(name="repeats", header="repeats", kind="count", digits=0),
        Column(name="reads", header="reads"),
        Column(name="first_batch_s", header="first batch s", kind="time", digits=3, priority=2),
        Column(name="compile_s", header="compile s", kind="time", digits=1, priority=4),
        Column(name="build_s", header="build s", kind="time", digits=3, priority=7),
        Column(name="processes_gib", header="memory GiB", kind="memory", digits=3, priority=1),
        Column(name="host_gib", header="main process GiB", kind="memory", digits=3, priority=6),
        Column(name="torch_gib", header="torch GiB", kind="memory", digits=3, priority=6),
        Column(name="device_gib", header="device GiB", kind="memory", digits=3, priority=3),
        Column(name="bytes_per_image", header="bytes/image", kind="count", digits=0, priority=8),
        Column(name="bandwidth_pct", header="% of bandwidth", kind="time", digits=2, priority=5),
        Column(name="notes", header="notes", footnote="always"),
    )
}
USUAL = ("", ABSENT, "array")  # a column that says nothing else is hidden
VARYING = ("batch_size", "repeats")  # columns that are hidden unless their values differ
COMMON = ("source", "scale", "device", "precision", "augmentation")


def rows(record: LoadersRecord) -> list[Row]:
    """One row per series, sorted by batch size and speed; unranked and failed ones last."""
    placed = ranks(record.series)
    return sorted((_row(record, series, placed) for series in record.series), key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    speed = row["images_per_s"]
    doubts = is_apart(row), not row["trusted"], row["status"] != "ok"
    place = row["batch_size"], speed is None, row["reads"] != "files", *doubts
    return *place, -(speed or 0), row["pipeline"]


def _row(record: LoadersRecord, series: Series, placed: Mapping[tuple[str, int], str]) -> Row:
    """The results of a series, which are None if it failed, even after some repeats."""
    ok = series.measured
    low, median, high = series.quartiles if ok else [None] * 3
    share = None
    if median is not None and series.bytes_per_image is not None and record.bandwidth_gb_per_s:
        share = 100 * median * series.bytes_per_image / (1e9 * record.bandwidth_gb_per_s)
    return {
        "rank": placed.get((series.pipeline, series.batch_size)),
        "pipeline": series.pipeline,
        "batch_size": series.batch_size,
        "images_per_s": median,
        "images_per_s_q1": low,
        "images_per_s_q3": high,
        "cold_problem": series.cold_problem,
        "cold_images_per_s": series.cold_images_per_s if ok else None,
        "cpu_s_per_1000": series.cpu_s_per_1000 if ok else None,
        "repeats": len(series.used),
        "disturbed": len(series.repeats) - len(series.undisturbed),
        "trusted": series.times_trusted,
        "reads": series.reads,
        "first_batch_s": series.first_batch_s,
        "compile_s": series.compile_s if ok else None,
        "build_s": series.build_s,
        "processes_gib": series.processes_gib,
        **asdict(series.memory),
        "bytes_per_image": series.bytes_per_image,
        "bandwidth_pct": share,
        "draws": series.shared_draws,
        "differs": op_differences(series.differs),
        "timing_suspect": "; ".join(by_kind(series.timing_suspect)),
        "status": series.status,
        "reason": series.reason,
    }


def is_apart(row: Row) -> bool:
    """Whether the row's pipeline does other work by the policy's name, as `Series.apart`."""
    return bool(row["differs"]) or row["draws"].startswith("per batch")


def title(record: LoadersRecord) -> str:
    """Machine, source and settings that all rows share."""
    environment, (height, width) = record.environment, record.image_size
    sizes = {series.batch_size for series in record.series}
    parts = [
        "pipelines alone",
        environment.get("gpu") or f"{environment.get('cpu')}, {environment.get('cores')} cores",
        f"{record.scale} scale",
        f"{record.source}, {record.images} images of {width}x{height}",
        record.augmentation,
        f"batch size {min(sizes)}" if len(sizes) == 1 else "",
        record.precision,
        f"repeats of {record.repeat_s:g} s",
        record.page_cache,
        f"memory {record.bandwidth_gb_per_s:.1f} GB/s",
        f"torch {environment.get('torch')}",
    ]
    return " | ".join(filter(None, parts))


def notes(found: Sequence[Row]) -> Iterator[str]:
    """Notes on the table, a sentence each."""
    ranked = [row for row in found if row["rank"] is not None]
    if suspect := suspect_count(found):
        yield (
            f"{suspect}. These have no rank, as they may be faster than measured: measure again on "
            "a quiet machine."
        )
    if any(map(is_apart, found)):
        yield (
            "Pipelines with another op of the same name, or with one random draw per batch, have "
            "no rank; notes say what differs."
        )
    if any(row["disturbed"] and not row["timing_suspect"] for row in found):
        yield 'Disturbed repeats are left out: "3 of 5" used three of five.'
    if any(row["repeats"] < LEAST_REPEATS for row in ranked):
        yield f"Series with fewer than {LEAST_REPEATS} repeats are not ranked."
    elif any("-" in row["rank"] for row in ranked):
        yield 'Overlapping intervals are not ranked: "2-3" is second or third at its batch size.'
    if len({row["reads"] for row in found if row["images_per_s"] is not None}) > 1:
        yield (
            "Pipelines that decode files are not ranked with those that read an array decoded "
            "before."
        )


def suspect_count(found: Sequence[Row]) -> str:
    """ "2 of 9 series have suspect timings"; "" if none has."""
    measured = [row for row in found if row["images_per_s"] is not None]
    suspect = sum(bool(row["timing_suspect"]) for row in measured)
    return f"{suspect} of {len(measured)} series have suspect timings" if suspect else ""


def render(
    record: LoadersRecord, form: Form = "rich", *, width: int | None = None, color: bool = False
) -> str:
    """The table as text; `width` and `color` are those of the terminal, for "rich"."""
    found = rows(record)
    if form == "json":
        return as_json(record, title(record), list(notes(found)), found)
    if form == "csv":
        common = {name: getattr(record, name) for name in COMMON}
        return csv(pd.DataFrame([common | row for row in found]))
    cells = {name: [_text(name, row) for row in found] for name in COLUMNS}
    texts = {name: set(cells[name]).difference(USUAL) for name in COLUMNS}
    table = Table(
        title=title(record),
        columns={name: COLUMNS[name] for name in COLUMNS if len(texts[name]) > (name in VARYING)},
        cells=cells,
        best={"images_per_s": [index for index, row in enumerate(found) if row["rank"] == "1"]},
        notes=list(notes(found)),
    )
    return table.markdown() if form == "md" else table.terminal(width=width, color=color)


def _text(name: str, row: Row) -> str:
    if name == "interval":
        low, high = row["images_per_s_q1"], row["images_per_s_q3"]
        return ABSENT if low is None else f"{low:.0f} to {high:.0f}"
    if name == "repeats" and row["disturbed"] and not row["timing_suspect"]:
        return f"{row['repeats']} of {row['repeats'] + row['disturbed']}"
    if name == "notes":
        failed = "" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        suspect = row["timing_suspect"].replace("; ", "; timing suspect: ")
        suspect = suspect and f"timing suspect: {suspect}"
        draws = "" if row["draws"] == "per sample" else row["draws"]
        parts = failed, suspect, draws, row["differs"], row["cold_problem"]
        return "; ".join(filter(None, parts))
    digits, value = COLUMNS[name].digits, row[name]
    if value in (None, "") or (name == "repeats" and not value):
        return ABSENT
    return str(value) if digits is None else f"{value:.{digits}f}"


def write_tables(store: Store, record: LoadersRecord) -> None:
    """Writes the record and its tables into the group folder.

    Raises:
        StoreError: The results folder cannot be written.
    """
    with signals_deferred():
        for form in FORMS[1:]:
            store.write_derived(f"loaders.{form}", render(record, form))
