"""Files that survive a crash: whole or not at all, and one writer at a time."""

import fcntl
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


class StoreError(RuntimeError):
    """A results folder that cannot be used; the message says which and what to do."""


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turns an operating system's error into a `StoreError` that says what could not be done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = str(error.filename or "")
        detail = f" ({where})" if where and where not in action else ""
        raise StoreError(f"cannot {action}: {reason}{detail}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file or, on any failure, leaves the old one as it was.

    Raises:
        StoreError: It cannot be written; the message says why.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with explained(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # without it the new name may be lost when the power goes
        finally:
            os.close(folder)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; the operating system frees it when its holder dies.

    Raises:
        StoreError: Another process holds it; the message names it.
    """
    with explained(f"open {path}"):
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StoreError(f"{path.parent} is in use: {_holder(file.read())}") from error
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        with explained(f"write {path}"):
            _note(file)
        try:
            yield
        finally:
            file.truncate(0)


def _note(file: TextIO) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "started": started}))
    file.flush()


def _holder(text: str) -> str:
    try:
        note = json.loads(text)
        return f"already running (pid {note['pid']} on {note['host']}, since {note['started']})"
    except (ValueError, TypeError, KeyError):  # read between its lock and its note
        return "already running"


def slug(text: str, keep: str = "") -> str:
    """Lower case letters, digits and single dashes; characters in `keep` stay as they are."""
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", text.lower()).strip("-")


__all__ = ["StoreError", "exclusive", "explained", "slug", "write_atomically"]
