"""What every reader of records relies on: tables that fit each other, figures within their range.

A file that says otherwise is no record, however well its hash fits. Whether figures agree with each
other is another question, which `bench check` asks.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from bench.record import Metrics, Record

ROUNDING = 1e-3  # of shares that were computed in 32 bits
LARGEST = 1e15  # seconds, images, bytes: no run comes near
LARGEST_STALL_PCT = 1e9  # below 0 too: a pipeline may seem faster than the ceiling
SCORES = ("accuracy", "macro_f1", "precision", "recall", "one_view_accuracy", "validation_accuracy")
TIMES = ("time_to_accuracy_s", "time_to_accuracy_with_compile_s")
OF_POINT = ("images", "train_s", "images_per_s", "step_ms")
SHARES_OF_POINT = ("validation_accuracy", "validation_macro_f1")
OF_THROUGHPUT = ("median", "p5", "p95", "ceiling", "step_ms")
OF_CLASS = ("precision", "recall", "f1")
OF_RECORD = (("seed", 0), ("attempt", 1), ("parameters", 0), ("energy_j", 0))
SHARE = (-ROUNDING, 1 + ROUNDING)


def problem(record: "Record", text: bytes | None = None) -> str:
    """The first thing that is out of order, in a few words; "" when all is well.

    Args:
        record: What to look at.
        text: The same as JSON; tables of thousands of records are read faster with it.
    """
    if text is None or not _within_all(text):
        return next(_problems(record), "")
    return next(_misfits(record), "")


def _within_all(text: bytes) -> bool:
    """Whether every figure lies within its range, as `_problems` would find one by one."""
    try:
        _ranges().decode(text)
    except msgspec.ValidationError:
        return False
    return True


@cache
def _ranges() -> "msgspec.json.Decoder[Any]":
    """The figures of a record as types that hold their ranges, which msgspec checks by itself."""
    from bench.record import Memory, Timings

    def fields(names: Iterable[str], least: float, most: float = LARGEST) -> list[Any]:
        within = Annotated[float, msgspec.Meta(ge=float(least), le=float(most))]
        return [(name, within | None, None) for name in names]

    def struct(name: str, *parts: list[Any]) -> Any:
        members = [field for part in parts for field in part]
        return msgspec.defstruct(name, members, kw_only=True, gc=False)

    count: Any = Annotated[int, msgspec.Meta(ge=0, le=int(LARGEST))]
    point: Any = struct(
        "Point", fields(["epoch"], 1), fields(OF_POINT, 0), fields(SHARES_OF_POINT, *SHARE)
    )
    scores: Any = struct("PerClass", fields(OF_CLASS, *SHARE), fields(["support"], 0))
    metrics: Any = struct(
        "Metrics", fields(SCORES, *SHARE), fields(TIMES, 0),
        [("per_class", list[scores]), ("confusion", list[list[count]])],
    )  # fmt: skip
    throughput: Any = struct(
        "Throughput",
        fields(OF_THROUGHPUT, 0),
        fields(["stall_pct"], -LARGEST_STALL_PCT, LARGEST_STALL_PCT),
    )
    whole: type = struct(
        "Record",
        [field for name, least in OF_RECORD for field in fields([name], least)],
        [
            ("timings", struct("Timings", fields(Timings.__slots__, 0)) | None, None),
            ("memory", struct("Memory", fields(Memory.__slots__, 0)) | None, None),
            ("curve", list[point], []),
            ("throughput", throughput | None, None),
            ("metrics", metrics | None, None),
        ],
    )
    return msgspec.json.Decoder(whole)


def _misfits(record: "Record") -> Iterator[str]:
    """What is out of order though every figure lies within its range."""
    if record.throughput is not None and record.throughput.ceiling == 0:
        yield "throughput.ceiling is 0"
    if record.metrics is not None:
        yield from _tables(record.metrics)


def _problems(record: "Record") -> Iterator[str]:
    for name, least in OF_RECORD:
        yield from _within(name, getattr(record, name), least, LARGEST)
    for part in ("timings", "memory"):
        yield from _all_within(getattr(record, part), part)
    for place, point in enumerate(record.curve):
        where = f"curve[{place}]."
        yield from _each(point, ("epoch",), where, 1, LARGEST)
        yield from _each(point, OF_POINT, where, 0, LARGEST)
        yield from _each(point, SHARES_OF_POINT, where, *SHARE)
    if record.throughput is not None:
        speed = record.throughput
        yield from _each(speed, OF_THROUGHPUT, "throughput.", 0, LARGEST)
        yield from _within(
            "throughput.stall_pct", speed.stall_pct, -LARGEST_STALL_PCT, LARGEST_STALL_PCT
        )
        if speed.ceiling == 0:
            yield "throughput.ceiling is 0"
    if record.metrics is not None:
        yield from _metrics(record.metrics)


def _metrics(metrics: "Metrics") -> Iterator[str]:
    yield from _each(metrics, SCORES, "metrics.", *SHARE)
    yield from _each(metrics, TIMES, "metrics.", 0, LARGEST)
    for place, scores in enumerate(metrics.per_class):
        where = f"metrics.per_class[{place}]."
        yield from _each(scores, OF_CLASS, where, *SHARE)
        yield from _each(scores, ("support",), where, 0, LARGEST)
    yield from _tables(metrics)
    counts = [count for row in metrics.confusion for count in row]
    if counts and not 0 <= min(counts) <= max(counts) <= LARGEST:
        yield f"metrics.confusion has counts from {min(counts)} to {max(counts)}"


def _tables(metrics: "Metrics") -> Iterator[str]:
    classes = len(metrics.per_class)
    if not classes:
        yield "metrics.per_class is empty"
    if len(metrics.confusion) != classes or any(len(row) != classes for row in metrics.confusion):
        yield f"metrics.confusion has not {classes} x {classes} entries, one for each two classes"


def _all_within(part: Any, where: str) -> Iterator[str]:
    yield from _each(part, type(part).__slots__, f"{where}.", 0, LARGEST)


def _each(part: Any, names: Iterable[str], where: str, least: float, most: float) -> Iterator[str]:
    """Those figures of a part that lie outside; thousands of records pass here when all is well."""
    for name in names:
        value = getattr(part, name)
        if value is not None and not least <= value <= most:
            yield from _within(where + name, value, least, most)


def _within(name: str, value: float | None, least: float, most: float) -> Iterator[str]:
    # a comparison with NaN is never true, and one with a whole number of any size is exact
    if value is not None and not least <= value <= most:
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)[:24]
        yield f"{name} is {shown}, which lies outside {math.ceil(least)} to {most:.0g}"


__all__ = ["problem"]
