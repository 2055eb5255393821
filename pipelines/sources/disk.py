"""The cache's files: `source.json`, and the data folder of .npy files it points to.

Data folders are written first and never changed. Replacing `source.json` makes one of them the
cache, so a crash at any moment leaves the old cache or none.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.sources.arrays import Arrays, BadFile, Cached, Labelled, Set
from pipelines.sources.measures import fingerprint

NOTE = "source.json"
FORMAT = 1


class Damaged(Exception):
    """A cache must not be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Stored:
    size: int
    modified_ns: int


@dataclass(frozen=True, kw_only=True)
class _Note:
    """The contents of `source.json`; `files` are those of the data folder."""

    format: int
    key: str
    folder: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprints: dict[Set, str]
    files: dict[str, _Stored]
    bad: tuple[BadFile, ...] = ()
    split: bool = False


_compared: dict[Path, _Note] = {}  # data folders whose bytes this process has compared


def read(folder: Path, key: str, *, compare: bool) -> Cached | None:
    """The cache in `folder`; None if there is none, or one with another key.

    Sizes are always checked, bytes if a file was modified.

    Args:
        compare: Whether bytes are compared too, once in each process: a disk may change them
            without a new time of modification.

    Raises:
        Damaged: It differs from what was written.
    """
    note = _read_note(folder)
    if note is None or note.key != key:
        return None
    data = folder / note.folder
    try:
        touched = _touched(data, note)
        sets = {name: _load(data, name) for name in note.fingerprints}
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(str(error)) from error
    if touched or (compare and data not in _compared):
        _compared.pop(data, None)
        _compare(note, sets)
        _compared[data] = note
    if touched:
        with suppress(OSError):  # a copied cache in a read-only folder stays usable
            _write_note(folder, replace(note, files=_stored(data)))
    return Cached(
        sets=sets,
        classes=note.classes,
        mean=note.mean,
        std=note.std,
        fingerprints=note.fingerprints,
        bad=note.bad,
        split=note.split,
    )


def compare_again() -> None:
    """Compares the bytes of all caches that this process has read.

    Raises:
        Damaged: Bytes changed since.
    """
    for data, note in list(_compared.items()):
        try:
            _compare(note, {name: _load(data, name) for name in note.fingerprints})
        except FileNotFoundError:  # another process has replaced it; mapped arrays stay valid
            continue
        except (Damaged, OSError, ValueError, EOFError) as error:
            del _compared[data]
            raise Damaged(f"{data}: {error}") from error


def write(
    folder: Path, key: str, arrays: Arrays, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Makes `arrays` the cache in an existing folder.

    Raises:
        OSError: They can't be written; the old cache remains.
    """
    data = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    try:
        _write_arrays(data, arrays)
        note = _Note(
            format=FORMAT,
            key=key,
            folder=data.name,
            classes=arrays.classes,
            mean=mean,
            std=std,
            fingerprints={
                name: fingerprint(part.images, part.labels, arrays.classes)
                for name, part in arrays.sets.items()
            },
            files=_stored(data),
            bad=arrays.bad,
            split=arrays.split,
        )
        _write_note(folder, note)
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Deletes files of crashed or replaced builds; mapped arrays stay valid."""
    note = None
    with suppress(Damaged):
        note = _read_note(folder)
    for pattern in ("data-*", "scratch-*"):
        for path in folder.glob(pattern):
            if note is None or path.name != note.folder:
                shutil.rmtree(path, ignore_errors=True)


def _read_note(folder: Path) -> _Note | None:
    try:
        text = (folder / NOTE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(str(error)) from error
    try:
        note = msgspec.json.decode(text, type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{NOTE}: {error}") from error
    if note.format != FORMAT:
        return None
    sets, parts = note.fingerprints, ("images", "labels")
    if (
        "train" not in sets
        or len(sets) < 2
        or set(note.files) != {_file(name, part) for name in sets for part in parts}
    ):
        raise Damaged(f"{NOTE} lists other files")
    if not note.folder.startswith("data-") or Path(note.folder).name != note.folder:
        raise Damaged(f"{NOTE} points to {note.folder!r}")
    return note


def _touched(data: Path, note: _Note) -> bool:
    touched = False
    for name, stored in note.files.items():
        status = (data / name).stat()
        if status.st_size != stored.size:
            raise Damaged(f"{name} has {status.st_size} bytes instead of {stored.size}")
        touched |= status.st_mtime_ns != stored.modified_ns
    return touched


def _load(data: Path, name: Set) -> Labelled:
    images = np.load(data / _file(name, "images"), mmap_mode="c", allow_pickle=False)
    labels = np.load(data / _file(name, "labels"), mmap_mode="c", allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"{name} images are {images.dtype} {images.shape}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"{name} labels are {labels.dtype} {labels.shape}")
    return Labelled(images=images, labels=labels)


def _compare(note: _Note, sets: Mapping[Set, Labelled]) -> None:
    for name, part in sets.items():
        if fingerprint(part.images, part.labels, note.classes) != note.fingerprints.get(name):
            raise Damaged(f"the bytes of {name}_images.npy or {name}_labels.npy changed")


def _file(name: Set, part: str) -> str:
    return f"{name}_{part}.npy"


def _write_arrays(data: Path, arrays: Arrays) -> None:
    data.chmod(0o755)  # mkdtemp's folders are private, but a cache may be shared
    for name, part in arrays.sets.items():
        for which, array in (("images", part.images), ("labels", part.labels)):
            with (data / _file(name, which)).open("wb") as file:
                _save(file, np.ascontiguousarray(array))
                file.flush()
                os.fsync(file.fileno())
    _sync(data)


def _save(file: IO[bytes], array: NDArray[Any]) -> None:
    """As `np.save`, whose error on a full disk doesn't mention the disk."""
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(array.reshape(-1).view(np.uint8).data)


def _write_note(folder: Path, note: _Note) -> None:
    # As `bench.store.files.write_atomically`; this package must not import bench.
    handle, name = tempfile.mkstemp(prefix=f"{NOTE}.", dir=folder)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(note)))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(folder / NOTE)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(folder)


def _stored(data: Path) -> dict[str, _Stored]:
    found = {path.name: path.stat() for path in sorted(data.iterdir())}
    return {
        name: _Stored(size=status.st_size, modified_ns=status.st_mtime_ns)
        for name, status in found.items()
    }


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # otherwise the new names may be lost in a power failure
    finally:
        os.close(handle)
