"""Locks on results folders: one writer at a time, and whoever is refused learns who that is.

The lock itself is filelock's: the operating system frees it when its holder ends, however it ends.
A note beside it says who holds it. Looking reads that note and never touches the lock, so that it
cannot get in the way of a process that is about to take it.
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
CLOCK_S = 2.0  # by which the system's idea of when a process started may change


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that took a lock, as its note says.

    Args:
        pid: Its number.
        host: Name of its host.
        namespace: Names the set of process ids that `pid` belongs to: containers have their own.
        created: When the process started, in seconds since 1970; tells a reused pid apart.
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
        """Whether the process still runs; None on another host, whose processes we don't see."""
        import psutil  # late: quick commands take no locks

        if (self.host, self.namespace) != (platform.node(), _namespace()):
            return None
        try:
            process = psutil.Process(self.pid)
            started_s, status = process.create_time(), process.status()
        except psutil.Error:
            return False
        return bool(abs(started_s - self.created) < CLOCK_S and status != psutil.STATUS_ZOMBIE)


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
    """The note beside the lock file `path`."""
    return path.with_name(f"{path.name}.holder")


def last_holder(path: Path) -> Holder | None:
    """Who took a lock and has not released it; it may have died since. Takes nothing."""
    try:
        return msgspec.json.decode(read_file(note_of(path), LARGEST_NOTE), type=Holder)
    except (OSError, StrangeFile, ValueError, RecursionError):
        return None


def current_holder(path: Path) -> Holder | None:
    """Who holds a lock now, or may hold it on a host that we don't see. Takes nothing."""
    holder = last_holder(path)
    return None if holder is None or holder.is_alive() is False else holder


@contextmanager
def held(path: Path, *, notice: Log, wait: bool = False, advice: str = "") -> Iterator[None]:
    """Holds the lock file `path`.

    Args:
        path: The lock file; created if need be, never removed.
        notice: Is told who is waited for, and of a holder that died.
        wait: Whether to wait for another process that holds it.
        advice: What to do about a lock that is taken, for the error.

    Raises:
        StoreError: Another process holds it, or it cannot be locked.
    """
    from filelock import FileLock  # late: quick commands take no locks

    lock, note = FileLock(path), note_of(path)
    waited_for = ""
    while not _try(lock, path):
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
            notice(f"{path.parent} was left locked by {left}, which is gone: taken over")
        with explained(f"write {note}"):  # in place: a half-written note names nobody
            note.unlink(missing_ok=True)  # it may be a link
            with note.open("xb") as file:
                file.write(msgspec.json.encode(_this_process()))
        yield
    finally:
        try:
            with suppress(OSError):
                note.unlink(missing_ok=True)
        finally:
            lock.release()


def _try(lock: "BaseFileLock", path: Path) -> bool:
    from filelock import Timeout

    with explained(f"lock {path}"):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    return True


@contextmanager
def serialized(path: Path) -> Iterator[None]:
    """Holds the lock file `path` for a moment, after those who came first.

    Raises:
        StoreError: It cannot be locked.
    """
    from filelock import FileLock

    lock = FileLock(path)
    with explained(f"lock {path}"):
        lock.acquire(poll_interval=SERIALIZED_POLL_S)
    try:
        yield
    finally:
        lock.release()
