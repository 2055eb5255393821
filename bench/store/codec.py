"""Records as JSON: one line with sorted keys and a hash of the content, validated when it is read.

The hash covers the same line with an empty `content_hash`. Files may also be indented or have their
keys in another order.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import BenchError, shortened
from bench.record import SCHEMA_VERSION, Record, RecordT
from bench.store.files import StrangeFile, UnusableFile, move_aside, read_file, unreadable
from bench.text import sanitize

LARGEST_FILE = 32 * 2**20  # bytes: a confusion matrix of some thousand classes
LONGEST_TEXT = 100_000  # characters of each text in a record
LONGEST_REASON = 300  # characters; a reason may quote the file


class RecordError(BenchError):
    """A record that cannot be read or written; the message says why."""


class NewerRecord(RecordError):
    """A record written by a newer version of the suite; it is left untouched."""


class RecordTooLarge(RecordError):
    """A record with more than `LARGEST_FILE` bytes, possible with thousands of classes."""


def encode(record: Record) -> bytes:
    """A record as strict JSON; NaN and infinity become null.

    Raises:
        RecordTooLarge: It is too large to be read back.
        RecordError: A required number is not finite or out of range.
    """
    plain = json_safe(msgspec.to_builtins(record, enc_hook=str))
    try:
        msgspec.convert(plain, Record)
    except msgspec.ValidationError as error:
        raise RecordError(f"the record of {record.name} cannot be kept: {error}") from error
    text = to_json(plain)
    if len(text) > LARGEST_FILE:
        raise RecordTooLarge(f"the record of {record.name} cannot be kept: {_too_large(text)}")
    return text


def _too_large(text: bytes) -> str:
    return f"{len(text):,} bytes are more than the {LARGEST_FILE:,} that a record may have"


def json_safe(value: Any) -> Any:
    """Plain data with NaN, infinity and lone surrogates, which JSON cannot hold, replaced."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        value = shortened(value, LONGEST_TEXT)
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {json_safe(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def to_json(plain: dict[str, Any]) -> bytes:
    """The content of a record's file: one line with its hash."""
    return _canonical(plain | {"content_hash": digest(plain)}) + b"\n"


def digest(plain: dict[str, Any]) -> str:
    """The content hash of a record, as plain data."""
    return hashlib.sha256(_canonical(plain | {"content_hash": ""})).hexdigest()


def _canonical(plain: dict[str, Any]) -> bytes:
    return msgspec.json.encode(plain, order="deterministic")


def decode(text: bytes) -> Record:
    """Decodes and validates a record; raises like `decode_as`."""
    return decode_as(Record, text)


def decode_as(kind: type[RecordT], text: bytes) -> RecordT:
    """Decodes and validates a record, as a `Record` or as a `RecordSummary`, which is faster.

    Raises:
        NewerRecord: Its schema is newer than this version supports.
        RecordError: It is not a record, or was changed or truncated after it was written.
    """
    if len(text) > LARGEST_FILE:
        raise RecordTooLarge(_too_large(text))
    try:
        record = msgspec.json.decode(text, type=kind)
        intact = _has_hash(text, record.content_hash)
    except (ValueError, RecursionError) as error:
        _check(text)
        raise RecordError(f"not a valid record: {error!s:.{LONGEST_REASON}}") from error
    if not intact or record.schema_version > SCHEMA_VERSION:
        _check(text)
    return record


def _has_hash(text: bytes, content_hash: str) -> bool:
    """Whether the hash matches a text with sorted keys, as written by `to_json`."""
    line = text.rstrip()
    if b"\n" in line:  # indented
        line = msgspec.json.format(line, indent=-1)
    own = b'"content_hash":"%b"' % content_hash.encode()
    line = line.replace(own, b'"content_hash":""', 1)
    return hashlib.sha256(line).hexdigest() == content_hash


def _check(text: bytes) -> None:
    """Raises if a text is not JSON, not a record of a known schema, or has the wrong hash."""
    try:
        plain = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's, UnicodeDecodeError, deep nesting
        raise RecordError(f"not JSON: {error!s:.{LONGEST_REASON}}") from error
    if not isinstance(plain, dict):
        raise RecordError("not a record: the file does not hold a JSON object")
    version = plain.get("schema_version")
    if not isinstance(version, int):
        raise RecordError("not a record: no schema_version")
    if version > SCHEMA_VERSION:
        raise NewerRecord(
            f"written with schema {version}, but this version of pipeline-bench knows "
            f"{SCHEMA_VERSION}"
        )
    if plain.get("content_hash") != digest(plain):
        raise RecordError("the content hash does not match: the file was changed or truncated")


def read_record(kind: type[RecordT], path: Path, *, sanitized: bool = False) -> RecordT | None:
    """The record in "<run_id>.json" or "<run_id>.<attempt>.json"; None if there is no such file.

    Args:
        kind: `Record`, or `RecordSummary` to leave the curve out.
        sanitized: Whether to escape its texts for display.

    Raises:
        RecordError: The file is damaged.
        UnusableFile: It cannot be read, or was written by a newer version of the suite.
    """
    found = read_with_text(kind, path)
    if found is None:
        return None
    return sanitize(*found) if sanitized else found[0]


def read_with_text(kind: type[RecordT], path: Path) -> tuple[RecordT, bytes] | None:
    """The record in a file and the file's content; otherwise like `read_record`."""
    try:
        text = read_file(path, LARGEST_FILE)
    except FileNotFoundError:
        return None
    except StrangeFile as error:
        raise RecordError(str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        record = decode_as(kind, text)
    except NewerRecord as error:
        raise UnusableFile(path, f"was {error}", "upgrade pipeline-bench") from error
    if record.run_id != path.name.partition(".")[0]:
        raise RecordError(f"it holds the record of another run, {record.run_id:.40}")
    return record, text


def quarantine(path: Path, folder: Path, reason: str) -> str:
    """Moves a damaged file into `folder` if possible; returns a message about it."""
    try:
        target = move_aside(path, folder)
    except OSError:
        return f"{path} is left out: {reason}"
    return f"{path} was moved to {target}, its run counts as not done: {reason}"
