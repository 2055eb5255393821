"""Decodes the image files of a tree into arrays of one size."""

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.base import usable_cores
from pipelines.sources.arrays import SETS, Arrays, Labelled, Set
from pipelines.sources.errors import Report, writing
from pipelines.sources.folder import Tree, unreadable
from pipelines.sources.measures import Bytes

MAX_PIXELS = 90_000_000
REPORT_S = 3.0
SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}
WIDE = {"I", "F"}


def decode_tree(tree: Tree, image_size: int, scratch: Path, report: Report) -> Arrays:
    """All images of a tree, as RGB of `image_size` x `image_size`.

    Args:
        image_size: Pixels per side.
        scratch: Folder for the images, which may not fit into memory.
        report: Called with lines about progress.

    Raises:
        SourceError: A file can't be read as an image; the message names it.
    """
    sets = {
        name: Labelled(
            images=_decode(tree, name, image_size, scratch, report),
            labels=np.array([item.label for item in tree.items[name]], np.int64),
        )
        for name in SETS
    }
    return Arrays(sets=sets, classes=tree.classes)


def read_image(path: Path, image_size: int) -> Bytes:
    """One image as RGB uint8 (image_size, image_size, 3).

    It is rotated according to its EXIF data; the largest central square is resized with
    antialiasing. Transparency is dropped. 16-bit greyscale is scaled to 8 bits.

    Raises:
        Exception: Pillow can't read the file.
        ValueError: More than `MAX_PIXELS` pixels, or pixels with an unknown range.
    """
    with Image.open(path, formats=_formats()) as image:
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
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    square = rgb.resize(
        (image_size, image_size),
        Image.Resampling.BILINEAR,
        box=(left, top, left + side, top + side),
    )
    return np.asarray(square)


def _formats() -> list[str]:
    """All but EPS, as Pillow opens EPS with a program that executes it."""
    Image.init()
    return [form for form in Image.OPEN if form != "EPS"]


def read_listed(root: Path, path: Path, image_size: int) -> Bytes:
    """As `read_image`, for a file of the tree `root`.

    Raises:
        SourceError: It can't be read; the message names it.
    """
    try:
        return read_image(path, image_size)
    except UnidentifiedImageError as error:
        raise unreadable(root, path, "it is not an image") from error
    except OSError as error:
        raise unreadable(root, path, error.strerror or str(error)) from error
    except Exception as error:
        raise unreadable(root, path, str(error) or type(error).__name__) from error


def _decode(tree: Tree, which: Set, image_size: int, scratch: Path, report: Report) -> Bytes:
    items = tree.items[which]
    images = _on_disk(scratch / f"{which}.npy", (len(items), image_size, image_size, 3))

    def work(index: int) -> None:
        images[index] = read_listed(tree.root, tree.root / items[index].path, image_size)

    reported_at = time.monotonic()
    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # large images are refused above
        try:
            for done, _ in enumerate(pool.map(work, range(len(items)))):
                if time.monotonic() - reported_at >= REPORT_S:
                    reported_at = time.monotonic()
                    report(f"decoding {tree.root}: {done} of {len(items)} images")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images


def _on_disk(path: Path, shape: tuple[int, ...]) -> Bytes:
    """An array in a file with allocated blocks, so that a full disk raises instead of killing."""
    with writing(path):
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images
