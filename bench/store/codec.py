"""A record as text: strict JSON, sorted, with a hash of its content.

What every reader of records relies on: tables that fit each other, figures within their range.

A file that says otherwise is no record, however well its hash fits. Whether figures agree with each
other is another question, which `bench check` asks.

Plain data as strict JSON can hold it.

A record as a file named after its run: read whole and true, or set aside with the reason.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from bench.record import SCHEMA_VERSION, Metrics, Record, RecordSummary, RecordT
from bench.store.files import StoreError, StrangeFile, move_aside, read_file
from bench.text import sanitize


def misfits(record: RecordSummary) -> Iterator[str]:
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


def strict(value: Any) -> Any:
    """The same without what JSON cannot hold: NaN, infinity, and bytes smuggled into a text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {strict(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


LONGEST_REASON = 300  # characters: it may quote what stands in the file
LARGEST_FILE = 32 * 2**20  # bytes: a confusion matrix of some thousand classes
LINES = (b"\n", b"\n\t", b"\n\t\t")  # that begin in a record, by their depth


class RecordError(ValueError):
    """A record that cannot be used; the message says what is wrong with it."""


class NewerRecord(RecordError):
    """A record written by a newer version of the suite; it is left untouched."""


def encode(record: Record) -> bytes:
    """Strict JSON with a content hash; numbers that JSON lacks (NaN, infinity) become null.

    Raises:
        RecordError: It could not be read: a number that every such record has is not finite or far
            out of range, or it is too large.
    """
    plain = strict(msgspec.to_builtins(replace(record, content_hash=""), enc_hook=str))
    plain["content_hash"] = digest(plain)
    try:
        _as_record(plain)
        return as_text(plain)
    except RecordError as error:
        raise RecordError(f"the record of {record.name} cannot be kept: {error}") from error


def decode(text: bytes) -> Record:
    """Reads and validates a record.

    Raises:
        NewerRecord: Its schema is newer than this code knows.
        RecordError: It is no record, or was changed or cut since it was written.
    """
    return decode_as(Record, text)


def decode_as(kind: type[RecordT], text: bytes) -> RecordT:
    """Likewise, as a `Record` or as a `Glance`, whose making takes half the time.

    Raises:
        NewerRecord: Its schema is newer than this code knows.
        RecordError: It is no record, or was changed or cut since it was written.
    """
    if len(text) > LARGEST_FILE:
        raise RecordError(too_large(len(text)))
    found = _as_written(kind, text)
    if found is not None:
        return found
    record = _as_anybody_may_write_it(text)
    assert isinstance(record, kind)
    return record


def _as_written(kind: type[RecordT], text: bytes) -> RecordT | None:
    """A record whose text is sorted, as `as_text` leaves it; None for all that is to be looked at.

    Tables of thousands of records are read so: nothing is sorted anew and nothing decoded twice.
    """
    try:
        record = msgspec.json.decode(text, type=kind)
        found = b'"content_hash":"%b"' % record.content_hash.encode()
        content, *more = _in_one_line(text).split(found)
        whole = content + b'"content_hash":""' + b"".join(more)
        if len(more) != 1 or hashlib.sha256(whole).hexdigest() != record.content_hash:
            return None
        sound = record.schema_version <= SCHEMA_VERSION and not any(misfits(record))
    except (ValueError, RecursionError):
        return None
    return record if sound else None


def _in_one_line(text: bytes) -> bytes:
    """JSON without the space between its parts; a text of JSON holds no line feed and no tab."""
    if text.startswith(b"{" + LINES[1]):  # as `as_text` leaves it: half the time
        return text.translate(None, b"\n\t")
    return msgspec.json.format(text, indent=-1)


def _as_anybody_may_write_it(text: bytes) -> Record:
    """Likewise, in any order of keys, and with the reason if it is none."""
    try:
        plain = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's own, bad UTF-8, too deep a nesting
        raise RecordError(f"not JSON: {error!s:.{LONGEST_REASON}}") from error
    if not isinstance(plain, dict):
        raise RecordError("not a record: the file holds no JSON object")
    version = plain.get("schema_version")
    if not isinstance(version, int):
        raise RecordError("not a record: no schema_version")
    if version > SCHEMA_VERSION:
        raise NewerRecord(
            f"written with schema {version}, but this version of pipeline-bench knows "
            f"{SCHEMA_VERSION}: upgrade it"
        )
    found = plain.get("content_hash")
    if found != digest({**plain, "content_hash": ""}):
        raise RecordError("the content hash does not match: the file was changed or cut")
    try:
        return _as_record(plain)
    except RecordError as error:
        raise RecordError(f"not a valid record: {error!s:.{LONGEST_REASON}}") from error


def too_large(size: int) -> str:
    """Why a file of `size` bytes is no record."""
    return f"{size:,} bytes are more than the {LARGEST_FILE:,} of the largest record"


def _as_record(plain: dict[str, Any]) -> Record:
    try:
        record = msgspec.convert(plain, Record, strict=True)
    except msgspec.ValidationError as error:
        raise RecordError(reason(error, plain)) from error
    for problem in misfits(record):
        raise RecordError(problem)
    return record


def as_text(plain: dict[str, Any]) -> bytes:
    """An entry a line for people, an epoch a line, sorted; without the space it is what is hashed.

    Raises:
        RecordError: It is too large.
    """
    entries = [_bytes(name) + b":" + _lines(value) for name, value in sorted(plain.items())]
    text = b"{" + LINES[1] + (b"," + LINES[1]).join(entries) + LINES[0] + b"}" + LINES[0]
    if len(text) > LARGEST_FILE:
        raise RecordError(too_large(len(text)))
    return text


def _lines(value: Any) -> bytes:
    """A value of a record, its parts a line each."""
    if isinstance(value, dict):
        opening, closing = b"{", b"}"
        parts = [_bytes(name) + b":" + _bytes(part) for name, part in sorted(value.items())]
    elif isinstance(value, list | tuple):
        opening, closing = b"[", b"]"
        parts = [_bytes(part) for part in value]
    else:
        return _bytes(value)
    if not parts:
        return opening + closing
    return opening + LINES[2] + (b"," + LINES[2]).join(parts) + LINES[1] + closing


def _bytes(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def digest(plain: dict[str, Any]) -> str:
    """The content hash of a record whose `content_hash` is ""."""
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def read_record(kind: type[RecordT], path: Path, *, legibly: bool = False) -> RecordT | None:
    """The record in "<run_id>.json" or "<run_id>.<attempt>.json"; None when there is no such file.

    Args:
        kind: `Record`, or `Glance` to leave the curve out.
        path: The file.
        legibly: Whether its texts are made safe to show.

    Raises:
        RecordError: It is damaged.
        StoreError: It cannot be read, or a newer version of the suite wrote it.
    """
    found = read_whole(kind, path)
    if found is None:
        return None
    return sanitize(*found) if legibly else found[0]


def read_whole(kind: type[RecordT], path: Path) -> tuple[RecordT, bytes] | None:
    """Likewise, with the bytes of the file.

    Raises:
        RecordError: It is damaged.
        StoreError: It cannot be read, or a newer version of the suite wrote it.
    """
    try:
        content = read_file(path, LARGEST_FILE)
    except FileNotFoundError:
        return None
    except StrangeFile as error:
        raise RecordError(str(error)) from error
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        record = decode_as(kind, content)
    except NewerRecord as error:
        raise StoreError(f"{path} was {error}") from error
    if record.run_id != path.name.partition(".")[0]:
        raise RecordError(f"it holds the record of another run, {record.run_id:.40}")
    return record, content


def set_aside(path: Path, folder: Path, reason: str) -> str:
    """Moves a damaged file into `folder` and says so; where that cannot be, it is left out."""
    try:
        target = move_aside(path, folder)
    except OSError:
        return f"{path} is left out: {reason}"
    return f"{path} was moved to {target}, its run counts as not done: {reason}"
