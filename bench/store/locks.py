"""Locks on results folders: one writer at a time; a refused process is told who holds the lock.

The lock itself is filelock's: the operating system releases it when its holder ends for any reason.
A note next to it names the holder. Inspecting a lock only reads the note, so that it never blocks
a process that is about to take the lock.
"""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.store.files import StoreError, StrangeFile, explained, read_file
from bench.text import Log

if TYPE_CHECKING:
    from filelock import BaseFileLock

POLL_S = 0.5
SERIALIZED_POLL_S = 0.01
LARGEST_NOTE = 4096  # bytes
SLACK_S = 2.0  # the reported start time of a process may vary by this much


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that took a lock, as written in its note.

    Args:
        namespace: The pid namespace of `pid`, as containers have separate ones.
        created: Start time of the process in seconds since 1970, to detect a reused pid.
        since: When it took the lock, in UTC.
    """

    pid: int
    host: str
    namespace: str
    created: float
    since: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def is_alive(self) -> bool | None:
        """Whether the process still runs; None if unknown, as on another host."""
        import psutil  # late import: quick commands do not need it

        if (self.host, self.namespace) != (platform.node(), _namespace()):
            return None
        try:
            process = psutil.Process(self.pid)
            started_s, status = process.create_time(), process.status()
        except psutil.Error:
            return False
        return bool(abs(started_s - self.created) < SLACK_S and status != psutil.STATUS_ZOMBIE)


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is not a path
    return ""


def _this_process() -> Holder:
    import psutil

    return Holder(
        pid=os.getpid(),
        host=platform.node(),
        namespace=_namespace(),
        created=psutil.Process().create_time(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def note_of(path: Path) -> Path:
    """The path of the note for the lock file `path`."""
    return path.with_name(f"{path.name}.holder")


def last_holder(path: Path) -> Holder | None:
    """The last process that took a lock without releasing it; it may have died since."""
    try:
        return msgspec.json.decode(read_file(note_of(path), LARGEST_NOTE), type=Holder)
    except (OSError, StrangeFile, ValueError, RecursionError):
        return None


def current_holder(path: Path) -> Holder | None:
    """The process that holds a lock, or may hold it on another host."""
    holder = last_holder(path)
    return None if holder is None or holder.is_alive() is False else holder


@contextmanager
def held(path: Path, *, notice: Log, wait: bool = False, advice: str = "") -> Iterator[None]:
    """Holds the lock file `path`.

    Args:
        notice: Called with a message when waiting, or when the last holder has died.
        advice: Advice for the error if the lock is taken.

    Raises:
        StoreError: Another process holds it, or it cannot be locked.
    """
    from filelock import FileLock  # late import: quick commands do not need it

    lock, note = FileLock(path), note_of(path)
    waited_for = ""
    while not _try_acquire(lock, path):
        holder = current_holder(path)
        by = f"already running ({holder})" if holder else "already running"
        if not wait:
            raise StoreError(f"{path.parent} is in use: {by}{advice}")
        if by != waited_for:
            notice(f"waiting for {path.parent}: {by}")
            waited_for = by
        time.sleep(POLL_S)
    try:
        left = last_holder(path)
        if left:
            notice(f"{path.parent} was left locked by {left}, which has ended: taken over")
        with explained(f"write {note}"):  # not atomic: a half-written note is ignored
            note.unlink(missing_ok=True)  # may be a link
            with note.open("xb") as file:
                file.write(msgspec.json.encode(_this_process()))
        yield
    finally:
        try:
            with suppress(OSError):
                note.unlink(missing_ok=True)
        finally:
            lock.release()


def _try_acquire(lock: "BaseFileLock", path: Path) -> bool:
    from filelock import Timeout

    with explained(f"lock {path}"):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    return True


@contextmanager
def serialized(path: Path) -> Iterator[None]:
    """Waits for the lock file `path` and holds it for a short block; StoreError if it can't."""
    from filelock import FileLock

    lock = FileLock(path)
    with explained(f"lock {path}"):
        lock.acquire(poll_interval=SERIALIZED_POLL_S)
    try:
        yield
    finally:
        lock.release()
