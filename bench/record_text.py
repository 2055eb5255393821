"""A record as text: strict JSON, sorted, with a hash of its content."""

import hashlib
from dataclasses import replace
from typing import Any

import msgspec

from bench import soundness
from bench.record import SCHEMA_VERSION, Record, RecordT
from bench.strict_json import strict

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
        sound = record.schema_version <= SCHEMA_VERSION and not any(soundness.misfits(record))
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
        raise RecordError(soundness.reason(error, plain)) from error
    for problem in soundness.misfits(record):
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
