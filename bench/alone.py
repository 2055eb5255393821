"""One run at a time on a host, among all that ask for it, whoever called them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.files import StoreError
from bench.signals import stops_let_through

# Not the temporary folder that TMPDIR names: clusters give each job one of its own.
LOCK = Path("/tmp/pipeline-bench.timing")
POLL_S = 0.2


@contextmanager
def alone_on_host(lock: Path = LOCK) -> Iterator[None]:
    """Waits for its turn, and has it until the end of the block, or of the process.

    Raises:
        StoreError: The lock file cannot be had.
    """
    descriptor = _opened(lock)
    try:
        while not _taken(descriptor, lock):
            with stops_let_through():
                time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> int:
    """Of another user's file too, which can be locked without being written."""
    try:
        try:
            return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refused(lock, error) from error


def _taken(descriptor: int, lock: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _refused(lock, error) from error
    return True


def _refused(lock: Path, error: OSError) -> StoreError:
    return StoreError(
        f"--exclusive-timing: {lock}, by which runs of a host take turns, cannot be locked "
        f"({error.strerror}): remove it, or leave the option out"
    )


__all__ = ["alone_on_host"]
