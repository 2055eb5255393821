"""Image files in the system's page cache: adding, dropping and looking for them."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

State = Literal["warm", "partly", "cold", "unknown"]
SAMPLE = 1000  # files whose pages are examined
MAX_BYTES = 8 * 2**30  # read in advance
NEARLY_ALL = 0.99


def warm(files: Sequence[Path]) -> int:
    """Reads all files and returns their size; 0, without reading, if they are too large to stay."""
    total = sum(path.stat().st_size for path in files)
    if total > min(MAX_BYTES, psutil.virtual_memory().available // 2):
        return 0
    for path in files:
        path.read_bytes()
    return total


def drop(files: Sequence[Path]) -> None:
    """Asks the system to drop the pages of all files, which needs no privileges; Linux only."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # pages that are not on the disk yet would stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def state(files: Sequence[Path]) -> State:
    """Whether a sample of the files is in the page cache, by its pages."""
    cached = pages = 0
    for path in files[:: -(-len(files) // SAMPLE) or 1]:
        found = _pages(path)
        if found is None:
            return "unknown"
        cached, pages = cached + sum(found), pages + len(found)
    if not pages:
        return "unknown"
    if cached >= NEARLY_ALL * pages:
        return "warm"
    return "cold" if cached <= (1 - NEARLY_ALL) * pages else "partly"


def _pages(path: Path) -> list[int] | None:
    """1 for each page of a file that is in the page cache, else 0; None if unknown.

    Source: mincore(2), which is accurate only for those who own the file or may write to it.
    """
    mincore = getattr(ctypes.CDLL(None), "mincore", None)
    status = path.stat()
    if mincore is None or not (status.st_uid == os.geteuid() or os.access(path, os.W_OK)):
        return None
    if not status.st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as memory:
        pages = (ctypes.c_ubyte * -(-len(memory) // mmap.PAGESIZE))()
        start = (ctypes.c_char * len(memory)).from_buffer(memory)
        failed = mincore(ctypes.byref(start), ctypes.c_size_t(len(memory)), pages)
        del start  # a map in use cannot be closed
    return None if failed else [page & 1 for page in pages]
