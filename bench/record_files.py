"""A record as a file named after its run: read whole and true, or set aside with the reason."""

from pathlib import Path

from bench.files import StoreError, StrangeFile, move_aside, read_file
from bench.printable import legible
from bench.record import RecordT
from bench.record_text import LARGEST_FILE, NewerRecord, RecordError, decode_as


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
    return legible(*found) if legibly else found[0]


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


__all__ = ["read_record", "read_whole", "set_aside"]
