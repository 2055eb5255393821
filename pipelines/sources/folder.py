"""`folder:PATH`: a tree of images, train/CLASS/* and test/CLASS/*, of any format and size."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines.sources.base import SourceError
from pipelines.sources.cache import Raw
from pipelines.sources.download import Report

SIZE = 32
MOST_PIXELS = 100_000_000  # a larger image is taken for an attack on memory
IGNORED = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The files of a folder source.

    Args:
        root: The folder.
        classes: Names of the class folders, sorted.
        files: Set ("train", "test") to (path, label), sorted by class and name.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[tuple[Path, int]]]

    @property
    def key(self) -> str:
        """Names the tree's state: changes with any file's name, size or time of change."""
        digest = hashlib.sha256()
        for which, files in self.files.items():
            for path, _ in files:
                stat = path.stat()
                name = os.fsencode(path.relative_to(self.root))
                digest.update(f"{which} {stat.st_size} {stat.st_mtime_ns} ".encode() + name + b"\0")
        return digest.hexdigest()[:24]


def scan(root: Path) -> Tree:
    """Finds the files, without opening any.

    Raises:
        SourceError: The tree is not as described; the message says where.
    """
    if not root.is_dir():
        raise SourceError(f"folder source {root}: there is no such folder")
    found = {which: _classes(root, which) for which in ("train", "test")}
    classes = tuple(sorted(found["train"]))
    other = set(classes) ^ set(found["test"])
    if other:
        raise SourceError(
            f"folder source {root}: train and test need the same class folders, "
            f"only one of them has {', '.join(sorted(other))}"
        )
    if len(classes) < 2:
        raise SourceError(f"folder source {root}: needs two class folders at least")
    files = {
        which: [(path, label) for label, name in enumerate(classes) for path in found[which][name]]
        for which in found
    }
    return Tree(root=root, classes=classes, files=files)


def _classes(root: Path, which: str) -> dict[str, list[Path]]:
    folder = root / which
    if not folder.is_dir():
        raise SourceError(f"folder source {root}: no folder {which!r} in it (train/CLASS/*)")
    classes = {
        path.name: sorted(_files(path))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    for name, files in classes.items():
        if not files:
            raise SourceError(f"folder source {root}: no images in {which}/{name}")
    return classes


def _files(folder: Path) -> Iterator[Path]:
    """Files below a class folder; links to folders are not followed, so loops cannot trap us."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower() not in IGNORED:
                yield Path(parent) / name


def read(tree: Tree, report: Report, size: int = SIZE) -> Raw:
    """Decodes and resizes every file.

    Raises:
        SourceError: A file cannot be read as an image; the message names it.
    """
    images, labels = {}, {}
    for which, files in tree.files.items():
        report(f"folder source {tree.root}: reading {len(files)} {which} images")
        images[which] = np.empty((len(files), size, size, 3), dtype=np.uint8)
        labels[which] = np.array([label for _, label in files], dtype=np.int64)
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda file: decode(file[0], tree.root, size), files)
            for place, image in zip(images[which], decoded, strict=True):
                place[:] = image
    return Raw(
        train_images=images["train"],
        train_labels=labels["train"],
        test_images=images["test"],
        test_labels=labels["test"],
        classes=tree.classes,
    )


def decode(path: Path, root: Path, size: int) -> NDArray[np.uint8]:
    """One image as uint8 (size, size, 3): upright, RGB, its shorter side fitted, its centre cut.

    Raises:
        SourceError: It cannot be read, or is larger than an image should be.
    """
    name = path.relative_to(root)
    try:
        with Image.open(path) as file:
            width, height = file.size
            if width * height > MOST_PIXELS:
                raise SourceError(f"{name}: {width} x {height} pixels are too many")
            file.draft("RGB", (2 * size, 2 * size))  # JPEG decodes at a fraction of its size
            upright = ImageOps.exif_transpose(file)
            fitted = ImageOps.fit(_rgb(upright), (size, size), Image.Resampling.BICUBIC)
            return np.asarray(fitted)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).split(" <")[0]
        raise SourceError(f"folder source {root}: cannot read {name}: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Without transparency, which is laid on black."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layered).convert("RGB")
    return image.convert("RGB")
