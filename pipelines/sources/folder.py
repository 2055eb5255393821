"""A tree of image files: `train/CLASS/...` and `test/CLASS/...`."""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.sources.arrays import SETS, Set
from pipelines.sources.errors import SourceError

VERSION = 1
MAX_CLASSES = 3000  # limited by the size of the confusion matrix
SKIPPED = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image file.

    Args:
        path: Path relative to the tree.
        label: Index of the class.
    """

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The result of a scan.

    Args:
        classes: Class names, sorted.
        items: Image files of each set, sorted by path.
        key: Hash of names, sizes and times of all files.
    """

    root: Path
    classes: tuple[str, ...]
    items: dict[Set, list[Item]]
    key: str


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    class_name: str
    size: int
    modified_ns: int


def scan(root: Path) -> Tree:
    """Scans a tree without reading the images.

    Hidden files and folders are skipped, as are links to a folder that contains them.

    Raises:
        SourceError: The tree lacks a set, sets have different classes, a class is empty, there is
            only one class, or something can't be an image.
    """
    try:
        if not root.is_dir():
            raise SourceError(
                f"there is no folder {root}; give folder:PATH with a folder that exists"
            )
        found = {name: _scan_set(root, name) for name in SETS}
    except OSError as error:
        raise unreadable(root, root, error.strerror or str(error)) from error
    classes = {name: {file.class_name for file in files} for name, files in found.items()}
    for name, other in ((SETS[0], SETS[1]), (SETS[1], SETS[0])):
        lacking = sorted(classes[name] - classes[other])
        if lacking:
            raise SourceError(
                f"{root}: {name} has the class {lacking[0]!r} and {other} does not; "
                "give both the same class folders"
            )
    names = tuple(sorted(classes["train"]))
    if len(names) < 2:
        raise SourceError(f"{root} has only the class {names[0]!r}; a classifier needs two")
    if len(names) > MAX_CLASSES:
        raise SourceError(
            f"{root} has {len(names):,} classes; at most {MAX_CLASSES:,} are supported"
        )
    labels = {name: label for label, name in enumerate(names)}
    items = {
        name: [Item(path=file.path, label=labels[file.class_name]) for file in files]
        for name, files in found.items()
    }
    return Tree(root=root, classes=names, items=items, key=_key(found))


def _scan_set(root: Path, name: Set) -> list[_File]:
    folder = root / name
    if not folder.is_dir():
        raise SourceError(f"{root} has no folder {name}; it needs train/CLASS/ and test/CLASS/")
    files: list[_File] = []
    for path in _entries(root, folder):
        if not path.is_dir():
            raise SourceError(
                f"{_shown(path.relative_to(root))} in {root} is not in a class folder; "
                "move it into one, or out of the tree"
            )
        members = list(_walk(root, path, _class_name(path), (folder.resolve(),)))
        if not members:
            raise SourceError(
                f"{_shown(path.relative_to(root))} in {root} has no images; fill it or delete it"
            )
        files += members
    if not files:
        raise SourceError(f"{folder} has no class folders; it needs {name}/CLASS/ with images")
    return sorted(files, key=lambda file: os.fsencode(file.path))


def _walk(root: Path, folder: Path, class_name: str, parents: tuple[Path, ...]) -> Iterator[_File]:
    here = folder.resolve()
    if any(parent.is_relative_to(here) for parent in parents):
        return  # a link to a folder that contains it
    for path in _entries(root, folder):
        try:
            status = path.stat()
        except OSError as error:
            raise unreadable(root, path, error.strerror or str(error)) from error
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, path, class_name, (*parents, here))
        elif stat.S_ISREG(status.st_mode):
            yield _File(
                path=path.relative_to(root),
                class_name=class_name,
                size=status.st_size,
                modified_ns=status.st_mtime_ns,
            )
        else:
            raise unreadable(root, path, "it is neither a file nor a folder")


def _entries(root: Path, folder: Path) -> list[Path]:
    """The entries of `folder` that aren't hidden."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(root, folder, error.strerror or str(error)) from error
    return [
        path for path in paths if not path.name.startswith(".") and path.name.lower() not in SKIPPED
    ]


def unreadable(root: Path, path: Path, reason: str) -> SourceError:
    """The error for an unusable `path` in the tree `root`."""
    return SourceError(
        f"{_shown(path.relative_to(root))} in {root} cannot be read: {reason}; repair or remove it"
    )


def _class_name(path: Path) -> str:
    """Normalises Unicode, so that names that look the same are equal."""
    return unicodedata.normalize("NFC", _shown(Path(path.name)))


def _shown(path: Path) -> str:
    """A path as text that can be printed and stored anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _key(found: dict[Set, list[_File]]) -> str:
    digest = hashlib.sha256(f"{VERSION}".encode())
    for files in found.values():
        for file in files:
            digest.update(os.fsencode(file.path))
            digest.update(f"\0{file.size}\0{file.modified_ns}\0".encode())
    return digest.hexdigest()
