"""What every reader of records relies on: tables that fit each other, figures within their range.

A file that says otherwise is no record, however well its hash fits. Whether figures agree with each
other is another question, which `bench check` asks.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from bench.record import Glance, Metrics, Record


def misfits(record: Glance) -> Iterator[str]:
    """What is out of order though every figure lies within its range, a few words each."""
    if record.throughput is not None and record.throughput.ceiling == 0:
        yield "throughput.ceiling is 0"
    if record.metrics is not None:
        yield from _tables(record.metrics)


def _tables(metrics: Metrics) -> Iterator[str]:
    classes = len(metrics.per_class)
    if not classes:
        yield "metrics.per_class is empty"
    if len(metrics.confusion) != classes or any(len(row) != classes for row in metrics.confusion):
        yield f"metrics.confusion has not {classes} x {classes} entries, one for each two classes"


def outside(plain: Any) -> Iterator[str]:
    """The figures of a record, as plain data, that lie outside the ranges of their fields."""
    yield from _outside(plain, _type_of_records(), "")


@cache
def _type_of_records() -> inspect.Type:
    return inspect.type_info(Record)


def _outside(value: Any, kind: inspect.Type, where: str) -> Iterator[str]:
    if isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _outside(value, one, where)
    elif isinstance(kind, inspect.DataclassType) and isinstance(value, dict):
        for field in kind.fields:
            if field.name in value:
                inside = f"{where}.{field.name}" if where else field.name
                yield from _outside(value[field.name], field.type, inside)
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for place, item in enumerate(value):
            yield from _outside(item, kind.item_type, f"{where}[{place}]")
    elif isinstance(kind, inspect.FloatType | inspect.IntType) and isinstance(value, int | float):
        yield from _beyond(value, kind, where)


def _beyond(value: float, kind: inspect.FloatType | inspect.IntType, where: str) -> Iterator[str]:
    # a comparison with a whole number of any size is exact
    if kind.ge is not None and kind.le is not None and not kind.ge <= value <= kind.le:
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)[:24]
        yield f"{where} is {shown}, which lies outside {math.ceil(kind.ge)} to {kind.le:.0g}"


def reason(error: msgspec.ValidationError, plain: Any) -> str:
    """Why plain data is no record: the figure out of its range, or what msgspec says."""
    return next(outside(plain), str(error))


__all__ = ["misfits", "outside", "reason"]
