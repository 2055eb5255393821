"""One writer at a time, or several that share; who holds what is said by name.

Locks are the operating system's: it frees them when their holder dies, however it dies.
"""

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from bench.store.files import StoreError, explained

POLL_S = 0.5
NOTE_SIZE = 4096  # bytes, far more than a note has
# Never another file by way of a link, since a lock is emptied; never a pipe that is waited for.
SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Notice = Callable[[str], None]


def _nobody() -> str:
    return ""


@contextmanager
def held(
    path: Path,
    *,
    notice: Notice,
    shared: bool = False,
    wait: bool = False,
    others: Callable[[], str] = _nobody,
    advice: str = "",
) -> Iterator[None]:
    """Holds the lock file `path`, alone or with others that share it.

    Args:
        path: The lock file; made if need be, never removed.
        notice: Is told whom is waited for, and of a holder that died.
        shared: Whether others that share may hold it as well.
        wait: Whether to wait until it can be had.
        others: Names those who share it; the lock's own note names one holder only.
        advice: What to do about a lock that cannot be had.

    Raises:
        StoreError: Another process holds it; the message names it.
    """
    with _opened(path) as file:
        _take(file, path, shared, notice if wait else None, others, advice)
        left = _noted(file)
        if left:
            notice(f"{path.parent} was left locked by {left}, which is gone: taken over")
        with explained(f"write {path}"):
            file.truncate(0)
            if not shared:
                _note(file)
        try:
            yield
        finally:
            if not shared:
                file.truncate(0)


@contextmanager
def serialized(path: Path) -> Iterator[None]:
    """Holds the lock file `path` for a short work; waits for those before.

    Raises:
        StoreError: It cannot be opened or locked.
    """
    with _opened(path) as file:
        with explained(f"lock {path}"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def look(path: Path) -> tuple[bool, str]:
    """Whether a lock file is held, and by whom its note says; takes nothing and waits for nobody.

    A note in one that nobody holds is of a process that died.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFELY)
    except OSError:
        return False, ""
    with os.fdopen(descriptor, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, _noted(file)
        except OSError:
            pass  # where nothing can be locked, nobody holds a lock
        return False, _noted(file)


def _opened(path: Path) -> TextIO:
    with explained(f"open {path}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | SAFELY, 0o666)
    return os.fdopen(descriptor, "a+", encoding="utf-8")


def _take(
    file: TextIO,
    path: Path,
    shared: bool,
    waiting: Notice | None,
    others: Callable[[], str],
    advice: str,
) -> None:
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    said = None
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            who = _noted(file) or others()
            by = f"already running ({who})" if who else "already running"
            if waiting is None:
                raise StoreError(f"{path.parent} is in use: {by}{advice}") from error
        except OSError as error:
            raise StoreError(
                f"cannot lock {path}: {error.strerror}; keep results on a file system that has "
                "locks (--out)"
            ) from error
        if who != said:
            waiting(f"waiting for {path.parent}: {by}")
            said = who
        time.sleep(POLL_S)


def _note(file: TextIO) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "started": started}))
    file.flush()


def _noted(file: TextIO) -> str:
    """Who the lock's note says holds it; "" where none is."""
    try:
        file.seek(0)
        note = json.loads(file.read(NOTE_SIZE))
        return f"pid {note['pid']} on {note['host']}, since {note['started']}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""  # read between its lock and its note, or no note of ours
