"""Atomic writes that survive a crash, and cleanup of temporary files after one.

The suite writes all whole files with `write_atomically`. (`pipelines`, which imports nothing from
`bench`, writes its own caches.)
"""

import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from bench.errors import BenchError

MANIFEST = ".written.json"  # lists the files that were written to a derived folder
STALE_S = 600.0  # more than any write takes, even on a slow disk
TEMPORARY = re.compile(r"\.\d+(-[0-9a-f]{8})?\.tmp")  # suffix of unfinished files

_ELSEWHERE = "name another folder"
_ADVICE = {
    errno.EACCES: f"permit it, or {_ELSEWHERE}",
    errno.EPERM: f"permit it, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: f"a file has the name of a folder: move it away, or {_ELSEWHERE}",
    errno.EEXIST: f"a file has the name of a folder: move it away, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: f"its links lead in circles: {_ELSEWHERE}",
    errno.ENOLCK: "name a folder on a file system that has locks",
    errno.ENOSPC: f"make room, or {_ELSEWHERE}",
    errno.EDQUOT: f"make room, or {_ELSEWHERE}",
    errno.EFBIG: f"make room, or {_ELSEWHERE}",
}


class StoreError(BenchError):
    """A results folder that cannot be used; the message says why and what to do."""


class UnusableFile(StoreError):
    """A file in a results folder that cannot be used.

    Args:
        problem: What is wrong with it, as a predicate: "cannot be read".
    """

    def __init__(self, path: Path, problem: str, advice: str) -> None:
        super().__init__(f"{path} {problem}; {advice}")
        self.path, self.problem, self.advice = path, problem, advice


def unreadable(path: Path, error: OSError) -> UnusableFile:
    """The error for a file that the operating system refuses to read."""
    return UnusableFile(
        path, f"cannot be read: {error.strerror}", "permit it, or move the file away"
    )


class StrangeFile(ValueError):
    """Not a regular file, or a file that is too large."""


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turns an `OSError` into a `StoreError` that says what failed, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = str(error.filename or "")
        detail = f" ({where})" if where and where not in action else ""
        advice = _ADVICE.get(error.errno or 0, "")
        raise StoreError(
            f"cannot {action}: {reason}{detail}{'; ' if advice else ''}{advice}"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file or, on any failure, leaves the old one unchanged.

    Raises:
        StoreError: It cannot be written; the message says why.
    """
    # A process id is not enough: hosts that share a disk may use the same one.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{token_hex(4)}.tmp")
    with explained(f"write {path}"):
        make_folder(path.parent)
        try:
            _write(temporary, content)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; never blocks on a pipe.

    Raises:
        StrangeFile: It is not a regular file or a link to one, or it is larger.
        OSError: It cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # links in a circle; a socket
            raise StrangeFile("it is not a plain file") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StrangeFile("it is not a plain file")
        if status.st_size > most:
            raise StrangeFile(f"its {status.st_size:,} bytes are more than {most:,}")
        content = os.read(descriptor, status.st_size + 1)
        if len(content) == status.st_size:
            return content
        with os.fdopen(descriptor, "rb", closefd=False) as file:  # large, or still growing
            return content + file.read(most - len(content))
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents, synced to the disk."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Syncs a folder to the disk, so that new names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folders: Iterable[Path]) -> None:
    """Syncs folders and those of their parents that this process may write."""
    synced: set[Path] = set()
    for folder in folders:
        place = folder.absolute()
        while place.is_dir() and place not in synced and os.access(place, os.W_OK | os.R_OK):
            sync_folder(place)
            synced.add(place)
            place = place.parent


def move_aside(path: Path, folder: Path) -> Path:
    """Moves a file into a folder under an unused name and returns its new path.

    Only one process may do so at a time.

    Raises:
        OSError: It cannot be moved.
    """
    make_folder(folder)
    target, number = folder / path.name, 0
    while target.exists():
        number += 1
        target = folder / f"{path.stem}.{number}{path.suffix}"
    path.rename(target)
    for place in (folder, path.parent):
        sync_folder(place)
    return target


def slug(text: str, keep: str = "") -> str:
    """Lower-case letters, digits and single dashes; characters in `keep` are kept."""
    return re.sub(rf"[^a-z0-9{re.escape(keep)}]+", "-", text.lower()).strip("-")


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder and removes those that only the last call wrote.

    Raises:
        StoreError: A file cannot be written or removed.
    """
    # In this order, a crash never leaves a file that is missing from the manifest.
    for name in _manifest(folder / MANIFEST) - files.keys():
        with explained(f"remove the old file {folder / name}"):
            (folder / name).unlink(missing_ok=True)
    write_atomically(folder / MANIFEST, (json.dumps(sorted(files), indent=1) + "\n").encode())
    for name, content in files.items():
        write_atomically(folder / name, content)


def _manifest(path: Path) -> set[str]:
    """Names that the last call wrote, if known; names of other folders are ignored."""
    try:
        names = set(map(str, json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError):
        return set()
    return {name for name in names if Path(name).name == name}


def is_stale(path: Path) -> bool:
    """Whether a file is too old to be in progress."""
    with suppress(OSError):  # its writer has just renamed it
        return time.time() - path.stat().st_mtime >= STALE_S
    return False
