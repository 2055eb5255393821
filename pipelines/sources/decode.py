"""Decodes the image files of a tree into arrays of one size."""

import errno
import os
import stat
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.options import usable_cores
from pipelines.sources.arrays import Arrays, BadFile, Labelled, Set
from pipelines.sources.errors import Report, writing
from pipelines.sources.folder import (
    HEIC,
    Tree,
    as_text,
    bad_files,
    formats,
    reads_heic,
    unreadable,
)
from pipelines.sources.measures import Bytes

MAX_PIXELS = 90_000_000
REPORT_S = 3.0
SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
WIDE = {"I", "F"}
FILES, MEMORY = "raise the limit with ulimit -n", "free some memory"
OF_THE_SYSTEM = {errno.EMFILE: FILES, errno.ENFILE: FILES, errno.ENOMEM: MEMORY}


def decode_tree(tree: Tree, image_size: int, scratch: Path, report: Report) -> Arrays:
    """All images of a tree that can be read, as RGB of `image_size` x `image_size`.

    Args:
        image_size: Pixels per side.
        scratch: Folder for the images, which may not fit into memory.
        report: Called with lines about progress.

    Raises:
        SourceError: No file of a set can be read as an image.
    """
    sets: dict[Set, Labelled] = {}
    bad: list[BadFile] = []
    for name, items in tree.items.items():
        images, reasons = _decode(tree, name, image_size, scratch, report)
        bad += [
            BadFile(path=as_text(items[index].path), reason=reason)
            for index, reason in sorted(reasons.items())
        ]
        good = [index for index in range(len(items)) if index not in reasons]
        if not good:
            raise bad_files(tree.root, bad)
        if reasons:
            for row, index in enumerate(good):
                images[row] = images[index]
        labels = np.array([items[index].label for index in good], np.int64)
        sets[name] = Labelled(images=images[: len(good)], labels=labels)
    return Arrays(sets=sets, classes=tree.classes, bad=tuple(bad), split=tree.split)


def read_image(path: Path, image_size: int) -> Bytes:
    """One image as RGB uint8 (image_size, image_size, 3).

    It is rotated according to its EXIF data; the largest central square is resized with
    antialiasing. Transparency is dropped. 16-bit greyscale is scaled to 8 bits.

    Raises:
        Exception: Pillow can't read the file.
        ValueError: More than `MAX_PIXELS` pixels, or pixels with an unknown range.
    """
    with open_plain(path) as file, Image.open(file, formats=formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"{image.width}x{image.height} pixels are more than {MAX_PIXELS / 1e6:.0f} million"
            )
        upright = ImageOps.exif_transpose(image)
        if upright.mode in WIDE:
            raise ValueError(f"pixels of Pillow's mode {upright.mode} have no known range")
        if upright.mode == "P":  # converting to RGB directly warns about transparency
            upright = upright.convert("RGBA")
        if upright.mode in SIXTEEN_BITS:
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        rgb = upright.convert("RGB")
    left, top, side = central_square(*rgb.size)
    square = rgb.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((image_size, image_size), Image.Resampling.BILINEAR))


def open_plain(path: Path) -> BinaryIO:
    """Opens a file for reading; never waits for a pipe.

    Raises:
        OSError: It can't be opened, or is not a regular file or a link to one.
    """
    return open(path, "rb", opener=_open_plain)


def _open_plain(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", path)
    return descriptor


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """(left, top, side) of the largest central square, rounded down to whole pixels."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def read_listed(root: Path, path: Path, image_size: int) -> Bytes:
    """As `read_image`, for a file of the tree `root`.

    Raises:
        SourceError: It can't be read; the message names it.
    """
    try:
        return read_image(path, image_size)
    except Exception as error:
        advice = _advice(error) or "repair or remove it"
        raise unreadable(root, path, _reason(error, path), advice) from error


def _advice(error: Exception) -> str:
    """What to do about an error that isn't the file's fault; "" if it is."""
    if isinstance(error, MemoryError):
        return MEMORY
    return OF_THE_SYSTEM.get(getattr(error, "errno", None) or 0, "")


def _reason(error: Exception, path: Path) -> str:
    """Why a file can't be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() in HEIC and not reads_heic():
            return "it is HEIC, which needs pip install pillow-heif or is to be saved as JPEG"
        return "it is not an image"
    return (
        (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    )


def _decode(
    tree: Tree, which: Set, image_size: int, scratch: Path, report: Report
) -> tuple[Bytes, dict[int, str]]:
    """The images, and why some can't be read, by index."""
    items = tree.items[which]
    images = _on_disk(scratch / f"{which}.npy", (len(items), image_size, image_size, 3))
    reasons: dict[int, str] = {}

    def work(index: int) -> None:
        path = tree.root / items[index].path
        try:
            images[index] = read_image(path, image_size)
        except Exception as error:
            if advice := _advice(error):
                raise unreadable(tree.root, path, _reason(error, path), advice) from error
            reasons[index] = _reason(error, path)

    reported_at = time.monotonic()
    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        # Images that are too large are refused by `read_image`.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            for done, _ in enumerate(pool.map(work, range(len(items)))):
                if time.monotonic() - reported_at >= REPORT_S:
                    reported_at = time.monotonic()
                    report(f"decoding {tree.root}: {done} of {len(items)} images")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images, reasons


def _on_disk(path: Path, shape: tuple[int, ...]) -> Bytes:
    """An array in a file with allocated blocks, so that a full disk raises instead of killing."""
    with writing(path):
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images
