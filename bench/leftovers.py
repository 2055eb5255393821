"""Files that a process which died has not finished; they are removed, and that is said."""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

STALE_S = 600.0  # a writer that lives has finished by then, even on a disk that crawls
OURS = re.compile(r"\.\d+(-[0-9a-f]{8})?\.tmp")  # the end of the names that we give
NAMED = 3


def clear(folder: Path, *, nobody_writes: Iterable[Path] = ()) -> str:
    """Removes unfinished files in a folder and below it; one sentence on them, "" for none.

    Args:
        folder: A group's.
        nobody_writes: As in `unfinished`.
    """
    gone = [path for path in unfinished(folder, nobody_writes=nobody_writes) if _removed(path)]
    if not gone:
        return ""
    named = ", ".join(str(path.relative_to(folder)) for path in gone[:NAMED])
    more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    return f"removed from {folder} what a process that died had left unfinished: {named}{more}"


def unfinished(folder: Path, *, nobody_writes: Iterable[Path] = ()) -> list[Path]:
    """Files in a folder and below it that nobody will finish.

    Args:
        folder: A group's.
        nobody_writes: Folders in which no other process can be writing now: there young ones
            count as well, elsewhere they may be somebody's who lives.
    """
    quiet = set(nobody_writes)
    return [
        path
        for path in sorted(folder.rglob("*.tmp"))
        if OURS.search(path.name) and _is_old(path, 0.0 if path.parent in quiet else STALE_S)
    ]


def _is_old(path: Path, older_than_s: float) -> bool:
    with suppress(OSError):  # finished just now by its writer
        return time.time() - path.stat().st_mtime >= older_than_s
    return False


def _removed(path: Path) -> bool:
    with suppress(OSError):  # finished just now by its writer, or not ours to remove
        path.unlink()
        return True
    return False


__all__ = ["clear", "unfinished"]
