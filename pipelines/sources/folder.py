"""A tree of image files: `train/CLASS/...` and `test/CLASS/...`, or `CLASS/...` alone."""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import torch
from PIL import Image

from pipelines.sources.arrays import SETS, BadFile, Set
from pipelines.sources.errors import SourceError, listed
from pipelines.sources.split import TEST_SHARE, holdout

VERSION = 2
MAX_CLASSES = 3000  # limited by the size of the confusion matrix
# Names of the sets' folders, in lower case.
SPLITS: dict[str, Set] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# What operating systems, servers and archivers leave in folders, in lower case.
LEFT_BEHIND = {
    "thumbs.db", "desktop.ini", "@eadir", "#recycle", "__macosx", "__pycache__", "$recycle.bin",
    "lost+found", "system volume information",
}  # fmt: skip
# Files with these suffixes count as images, so that an unreadable one is bad. Other files are
# images if their first bytes are those of one.
IMAGE_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm",
    ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
HEIC = {".heic", ".heif"}
NEEDED = "it needs train/CLASS/ and test/CLASS/ or val/CLASS/, or CLASS/ with images alone"
UNREADABLE = -1  # size of a file without permission, so that the key changes with the permission


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
        skipped: Files and folders that hold no images of a class, relative to the tree, as text.
        split: Whether the test set is a part of the only tree of classes.
    """

    root: Path
    classes: tuple[str, ...]
    items: dict[Set, list[Item]]
    key: str
    skipped: tuple[str, ...] = ()
    split: bool = False


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    class_name: str
    size: int
    modified_ns: int


def scan(root: Path) -> Tree:
    """Scans a tree without reading the images.

    Hidden files and folders, those that systems leave behind, and files beside images are skipped,
    as are links to a folder that contains them. Without a folder for testing or validation, a part
    of the images is the test set, chosen by `split.holdout` from the sorted paths.

    Raises:
        SourceError: There is no training image, a class without one, only one class, or something
            that cannot be read.
    """
    skipped: list[Path] = []
    try:
        if not root.is_dir():
            raise SourceError(
                f"there is no folder {root}; give folder:PATH with a folder that exists"
            )
        folders = _folders(root, skipped)
        found = {which: _scan_set(root, path, skipped) for which, path in folders.items()}
    except OSError as error:
        raise unreadable(root, root, error.strerror or str(error)) from error
    names = tuple(sorted({file.class_name for file in found["train"]}))
    for which, files in found.items():
        if unknown := sorted({file.class_name for file in files}.difference(names)):
            raise SourceError(
                f"{root}: {folders[which].name} has the class {unknown[0]!r}, of which there is no "
                "training image; add some or remove the class"
            )
    if len(names) < 2:
        raise SourceError(
            f"{root} has only the class {names[0]!r}; a classifier needs two (the folders in "
            f"{folders['train']} are the classes)"
        )
    if len(names) > MAX_CLASSES:
        raise SourceError(
            f"{root} has {len(names):,} classes; at most {MAX_CLASSES:,} are supported"
        )
    labels = {name: label for label, name in enumerate(names)}
    items = {
        which: [Item(path=file.path, label=labels[file.class_name]) for file in files]
        for which, files in found.items()
    }
    key = _key(found)
    split = items.keys() == {"train"}
    if split:
        items = _split(root, items["train"])
        key += "-split"
    shown = tuple(sorted(as_text(path.relative_to(root)) for path in skipped))
    return Tree(root=root, classes=names, items=items, key=key, skipped=shown, split=split)


def _folders(root: Path, skipped: list[Path]) -> dict[Set, Path]:
    """The folder of each set; the tree itself for "train" if it has no folders of sets."""
    splits: dict[Set, Path] = {}
    flat: list[Path] = []  # named as a set, but without folders: a class, or images without one
    others: list[Path] = []
    for path in _entries(root, root, skipped):
        which = SPLITS.get(path.name.lower())
        if which is None or not path.is_dir():
            others.append(path)
        elif not any(below.is_dir() for below in _entries(root, path, [])):
            flat.append(path)
        elif which in splits:
            raise SourceError(
                f"{root} has both {splits[which].name} and {path.name}; rename or remove one"
            )
        else:
            splits[which] = path
    if "train" in splits:
        skipped += [*others, *flat]
        return {which: splits[which] for which in SETS if which in splits}
    if splits:
        raise SourceError(f"{root} has no folder train with class folders; {NEEDED}")
    if len(flat) > 1 or not any(path.is_dir() for path in others):
        raise SourceError(f"{flat[0] if flat else root} has no class folders; {NEEDED}")
    return {"train": root}


def _scan_set(root: Path, folder: Path, skipped: list[Path]) -> list[_File]:
    files: list[_File] = []
    for path in _entries(root, folder, skipped):
        beside: list[Path] = []
        members: list[_File] = []
        if path.is_dir() and (folder != root or _has_images(root, path)):
            members += _walk(root, path, _class_name(path), (folder.resolve(),), beside)
        skipped += beside if members else [path]
        files += members
    if not files:
        raise SourceError(f"{folder} has no class folders with images; {NEEDED}")
    return sorted(files, key=lambda file: os.fsencode(file.path))


def _walk(
    root: Path, folder: Path, class_name: str, parents: tuple[Path, ...], skipped: list[Path]
) -> Iterator[_File]:
    here = folder.resolve()
    if any(parent.is_relative_to(here) for parent in parents):
        return  # a link to a folder that contains it
    for path in _entries(root, folder, skipped):
        try:
            status = path.stat()
        except FileNotFoundError:
            status = path.lstat()  # a broken link, which cannot be read either
        except OSError as error:
            raise unreadable(root, path, error.strerror or str(error)) from error
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, path, class_name, (*parents, here), skipped)
        elif (stat.S_ISREG(status.st_mode) or path.is_symlink()) and _is_image(path):
            yield _File(
                path=path.relative_to(root),
                class_name=class_name,
                size=status.st_size if _is_readable(path) else UNREADABLE,
                modified_ns=status.st_mtime_ns,
            )
        else:
            skipped.append(path)


def _is_readable(path: Path) -> bool:
    return os.access(path, os.R_OK) and (path.suffix.lower() not in HEIC or reads_heic())


def _has_images(root: Path, folder: Path) -> bool:
    """Whether the folder itself has images; without this check, home folders would be searched."""
    return any(path.is_file() and _is_image(path) for path in _entries(root, folder, []))


def _is_image(path: Path) -> bool:
    """Whether the file has the suffix of an image, or the first bytes of one."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        if not path.stat().st_size:  # as of the kernel's files, which may block when they are read
            return False
        with path.open("rb") as file:
            start = file.read(16)
        likely = [name for name in formats() if (accept := Image.OPEN[name][1]) and accept(start)]
        if likely:
            Image.open(path, formats=likely).close()
    except Image.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 - Pillow raises anything for a file that isn't an image
        return False
    return bool(likely)


def formats() -> list[str]:
    """All but EPS, as Pillow opens EPS with a program that executes it."""
    Image.init()
    reads_heic()
    return [form for form in Image.OPEN if form != "EPS"]


@cache
def reads_heic() -> bool:
    """Whether Pillow reads HEIC, because pillow-heif is installed."""
    try:
        import_module("pillow_heif").register_heif_opener()
    except (ImportError, OSError):
        return False
    return True


def _entries(root: Path, folder: Path, skipped: list[Path]) -> list[Path]:
    """The entries of `folder` that may be images or hold some; the others go to `skipped`."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(root, folder, error.strerror or str(error)) from error
    kept = [
        path
        for path in paths
        if not path.name.startswith(".") and path.name.lower() not in LEFT_BEHIND
    ]
    skipped += sorted(set(paths).difference(kept))
    return kept


def _split(root: Path, items: Sequence[Item]) -> dict[Set, list[Item]]:
    labels_N = torch.tensor([item.label for item in items])
    training, test = holdout(labels_N, TEST_SHARE)
    if not len(test):
        raise SourceError(
            f"{root} has one image of each class, so none is left for a test set; add some"
        )
    return {
        "train": [items[index] for index in training.tolist()],
        "test": [items[index] for index in test.tolist()],
    }


def unreadable(
    root: Path, path: Path, reason: str, advice: str = "repair or remove it"
) -> SourceError:
    """The error for an unusable `path` in the tree `root`."""
    name = as_text(path.relative_to(root))
    return SourceError(f"{name} in {root} cannot be read: {reason}; {advice}")


def bad_files(root: Path, bad: Sequence[BadFile]) -> SourceError:
    """The error for all files of a tree that cannot be read."""
    if len(bad) == 1:
        return SourceError(
            f"{bad[0].path} in {root} cannot be read: {bad[0].reason}; repair or remove it, or "
            "leave it out with --skip-bad"
        )
    files = listed([f"{one.path} ({one.reason})" for one in bad])
    return SourceError(
        f"{len(bad):,} files in {root} cannot be read: {files}; repair or remove them, or leave "
        "them out with --skip-bad"
    )


def _class_name(path: Path) -> str:
    """Normalises Unicode, so that names that look the same are equal."""
    return unicodedata.normalize("NFC", as_text(Path(path.name)))


def as_text(path: Path) -> str:
    """A path as text that can be printed and stored anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _key(found: dict[Set, list[_File]]) -> str:
    digest = hashlib.sha256(f"{VERSION}".encode())
    for files in found.values():
        for file in files:
            digest.update(os.fsencode(file.path))
            digest.update(f"\0{file.size}\0{file.modified_ns}\0".encode())
    return digest.hexdigest()
