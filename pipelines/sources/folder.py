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
MOST_CLASSES = 3000  # scores of more, each against each, fit into no memory and no file
SKIPPED = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image file.

    Args:
        path: Relative to the tree.
        label: Index of its class.
    """

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What a scan found.

    Args:
        root: The tree.
        classes: Sorted.
        items: Of each set, sorted by path.
        key: Names, sizes and times of all files, hashed; a changed tree has another.
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
    """Looks through a tree without reading the images.

    Hidden files and folders are skipped, and links to folders that lead back to where they are.

    Raises:
        SourceError: The tree lacks a set, sets have different classes, a class is empty, there is
            only one class, or something lies where an image is expected and cannot be one.
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
                f"{root}: {name} has the class {lacking[0]!r} and {other} has not; "
                "give both the same class folders"
            )
    names = tuple(sorted(classes["train"]))
    if len(names) < 2:
        raise SourceError(f"{root} has only the class {names[0]!r}; there is nothing to tell apart")
    if len(names) > MOST_CLASSES:
        raise SourceError(
            f"{root} has {len(names):,} classes; at most {MOST_CLASSES:,} can be told apart here"
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
                f"{_shown(path.relative_to(root))} in {root} is in no class folder; "
                "move it into one, or away"
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
        return  # a link to a folder that it lies in
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
    """What lies in `folder` and is meant to be seen."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(root, folder, error.strerror or str(error)) from error
    return [
        path for path in paths if not path.name.startswith(".") and path.name.lower() not in SKIPPED
    ]


def unreadable(root: Path, path: Path, reason: str) -> SourceError:
    """The error for a `path` in the tree `root` that cannot be used."""
    return SourceError(
        f"{_shown(path.relative_to(root))} in {root} cannot be read: {reason}; "
        "repair it or take it away"
    )


def _class_name(path: Path) -> str:
    """One spelling for names that look the same, whichever system wrote them."""
    return unicodedata.normalize("NFC", _shown(Path(path.name)))


def _shown(path: Path) -> str:
    """A path as text that every terminal and file can take."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _key(found: dict[Set, list[_File]]) -> str:
    digest = hashlib.sha256(f"{VERSION}".encode())
    for files in found.values():
        for file in files:
            digest.update(os.fsencode(file.path))
            digest.update(f"\0{file.size}\0{file.modified_ns}\0".encode())
    return digest.hexdigest()
