"""What a run leaves beside its record, and how it goes with the record from folder to folder.

That of its present record lies in the group's own folders, that of an earlier record in the
same folders below `records/.attempts/<run_id>.<attempt>/`: a newer one does not replace it.
"""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.files import StrangeFile, explained, read_file, settle, write_atomically
from bench.leftovers import OURS
from bench.record import Record
from bench.store import Store

KINDS = ("predictions", "logs", "profiles", "tensorboard")
LARGEST = 2**31  # bytes of a file beside a record

Warn = Callable[[str], None]


def belongings(base: Path, record: Record) -> dict[str, Path]:
    """What belongs to a record: where it is, by its name relative to `base`; links are left out.

    Args:
        base: The group's folder, or that of an earlier record.
        record: Of the run.
    """
    run_id = record.run_id
    paths = [
        base / "predictions" / f"{run_id}.npz",
        base / "logs" / f"{run_id}.log",
        base / "profiles" / f"{run_id}.json.gz",
        base / "profiles" / f"{run_id}.txt",
        *_entries(Store(base).tensorboard_path(record.run)),
    ]
    return {str(path.relative_to(base)): path for path in paths if is_plain(path)}


def _entries(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not OURS.search(path.name))


def is_plain(path: Path) -> bool:
    """Whether a file is one, and no link to another."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def copy(found: Mapping[str, Path], base: Path, warn: Warn) -> None:
    """Copies what belongs to a record; what cannot be read is told and left out.

    Raises:
        StoreError: One cannot be written.
    """
    for name, path in found.items():
        try:
            content = read_file(path, LARGEST)
        except (OSError, StrangeFile) as error:
            warn(f"{path} is left out: {error}")
        else:
            write_atomically(base / name, content)


def replace(found: Mapping[str, Path], base: Path, record: Record, warn: Warn) -> None:
    """Likewise, and removes what belongs to another record of the run and not to this one.

    Raises:
        StoreError: One cannot be written or removed.
    """
    for name, path in belongings(base, record).items():
        if name not in found:
            with explained(f"remove {path}"):
                path.unlink(missing_ok=True)
                settle(path.parent)
    copy(found, base, warn)


def fill(found: Mapping[str, Path], base: Path, record: Record, warn: Warn) -> bool:
    """Copies what is missing; event files only where there are no others of the run.

    Returns:
        Whether anything was.

    Raises:
        StoreError: One cannot be written.
    """
    there = belongings(base, record)
    foreign = [name for name in there if name.startswith("tensorboard/")]
    missing = {
        name: path
        for name, path in found.items()
        if name not in there and not (name.startswith("tensorboard/") and set(foreign) - set(found))
    }
    copy(missing, base, warn)
    return bool(missing)


__all__ = ["KINDS", "LARGEST", "Warn", "belongings", "copy", "fill", "is_plain", "replace"]
