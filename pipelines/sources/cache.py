"""The cache of sources, which are mapped into memory."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.sources import disk
from pipelines.sources.arrays import Arrays, Cached
from pipelines.sources.errors import Report, SourceError, writing
from pipelines.sources.measures import mean_and_std


def present(folder: Path, key: str, *, compare: bool = False) -> Cached | None:
    """The cache in `folder`, if it is usable and has this key; see `disk.read`."""
    try:
        return disk.read(folder, key, compare=compare)
    except disk.Damaged:
        return None


def compare_again() -> None:
    """Checks that no cache has changed since this process first read it.

    Raises:
        SourceError: One has.
    """
    try:
        disk.compare_again()
    except disk.Damaged as damage:
        raise SourceError(
            f"the cached images changed while they were in use ({damage}); check the disk; the "
            "next run makes the cache anew"
        ) from damage


def obtain(folder: Path, key: str, make: Callable[[Path], Arrays], report: Report) -> Cached:
    """The cache in `folder`, made first if it is missing, has another key, or is damaged.

    Args:
        folder: A folder for this source only.
        key: Identifies the result of `make`.
        make: Makes the source; it gets an empty folder, which is deleted afterwards.
        report: Called with a line if the cache is damaged, or another process is making it.

    Raises:
        SourceError: The cache can't be written, or `make` raises it.
    """
    try:
        found = disk.read(folder, key, compare=True)
    except disk.Damaged as damage:
        report(f"the cache in {folder} is damaged ({damage}); it is made again")
        found = None
    if found is not None:
        return found
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, report) as locked:
        if not present(folder, key, compare=True):  # another process may just have made it
            if locked:
                disk.sweep(folder)
            _make(folder, key, make)
            if locked:
                disk.sweep(folder)
        try:
            found = disk.read(folder, key, compare=True)
        except disk.Damaged as damage:
            raise SourceError(
                f"the cache just made in {folder} is damaged ({damage}); "
                "check the disk, or name another folder with --data-dir"
            ) from damage
    if found is None:
        raise SourceError(f"the cache in {folder} was replaced while it was read; try again")
    return found


def _make(folder: Path, key: str, make: Callable[[Path], Arrays]) -> None:
    with writing(folder):
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    try:
        arrays = make(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    mean, std = mean_and_std(arrays.sets["train"].images)
    # A constant channel is normalised to 0 instead of dividing by 0.
    std = tuple(value or 1.0 for value in std)
    with writing(folder):
        disk.write(folder, key, arrays, mean, std)


@contextmanager
def _locked(folder: Path, report: Report) -> Iterator[bool]:
    """Waits for other processes that make the same cache.

    Yields False on a file system without locks, where making it twice is slower but safe.
    """
    with writing(folder):
        file = (folder / ".lock").open("a+b")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that fills {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
