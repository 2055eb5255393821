"""Small sources for tests: arrays, image files, and a CIFAR-10 of a few images in all formats."""

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.sources import cifar, download, tfjs
from pipelines.sources.arrays import Arrays, Labelled
from pipelines.sources.measures import content
from tests import checkout

BATCH = 4


def made_set(count: int, seed: int, size: int = 32) -> Labelled:
    """Random images and labels of ten classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    return Labelled(images=images, labels=rng.integers(0, 10, count, np.int64))


def made_arrays(seed: int = 0, size: int = 8) -> Arrays:
    """12 training and 6 test images."""
    sets = {"train": made_set(12, seed, size), "test": made_set(6, seed + 1, size)}
    return Arrays(sets=sets, classes=tuple("abcdefghij"))


@dataclass(frozen=True, kw_only=True)
class MadeCifar:
    """A CIFAR-10 of 20 and 4 images."""

    train: Labelled
    test: Labelled
    files: dict[str, bytes]  # of torchvision's folder
    archive: bytes  # of that folder
    package: bytes  # of npm


def offline_cifar(monkeypatch: pytest.MonkeyPatch, folder: Path) -> MadeCifar:
    """Makes one that fits all checksums; there is neither npm nor a mirror."""
    monkeypatch.setattr(download, "ANSWER_S", 0.5)
    monkeypatch.setattr(download, "STALL_S", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(folder / "usual"))
    no_npm(monkeypatch)
    train, test = made_set(5 * BATCH, 1), made_set(BATCH, 2)
    files = {"batches.meta": pickle.dumps({"label_names": list(tfjs.CLASSES)})}
    for batch in range(5):
        part = slice(batch * BATCH, (batch + 1) * BATCH)
        files[f"data_batch_{batch + 1}"] = _batch(train.images[part], train.labels[part])
    files["test_batch"] = _batch(test.images, test.labels)
    made = MadeCifar(
        train=train,
        test=test,
        files=files,
        archive=_tar({f"cifar-10-batches-py/{name}": data for name, data in files.items()}),
        package=_package(train, test),
    )
    _fit_checksums(made, monkeypatch)
    return made


def write_images(root: Path, counts: Mapping[str, int]) -> Path:
    """Writes random images of 8 x 8 pixels: `counts` are their numbers by folder below `root`."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
    return root


def lay_out(files: dict[str, bytes], data_dir: Path) -> Path:
    """Writes torchvision's folder into `data_dir`."""
    folder = data_dir / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def put_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts an `npm` that runs `script` first on the path."""
    checkout.program(folder / "npm", script)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves nothing on the path."""
    monkeypatch.setenv("PATH", "")


def _batch(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> bytes:
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return pickle.dumps({"data": data, "labels": labels.tolist()})


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def _package(train: Labelled, test: Labelled) -> bytes:
    files = {"package/package.json": b"{}"}
    sheets = {f"data_batch_{n + 1}": train.images[n * BATCH :][:BATCH] for n in range(5)}
    for name, images in (sheets | {"test_batch": test.images}).items():
        stream = io.BytesIO()
        Image.fromarray(images.reshape(len(images), -1, 3)).save(stream, "PNG")
        files[f"package/{name}.png"] = stream.getvalue()
    for name, part in (("train", train), ("test", test)):
        files[f"package/{name}_lables.json"] = json.dumps(part.labels.tolist()).encode()
    return _tar(files)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _fit_checksums(made: MadeCifar, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets  # here, since processes of the cache's tests do without it

    dataset = torchvision.datasets.CIFAR10
    batches = [[name, _md5(data)] for name, data in made.files.items() if "batch_" in name]
    meta = {**dataset.meta, "md5": _md5(made.files["batches.meta"])}
    monkeypatch.setattr(dataset, "tgz_md5", _md5(made.archive))
    monkeypatch.setattr(dataset, "train_list", batches)
    monkeypatch.setattr(dataset, "test_list", [["test_batch", _md5(made.files["test_batch"])]])
    monkeypatch.setattr(dataset, "meta", meta)
    monkeypatch.setattr(tfjs, "SHA256", hashlib.sha256(made.package).hexdigest())
    hashes = {
        name: tuple(hashlib.sha256(content(a)).hexdigest() for a in (part.images, part.labels))
        for name, part in (("train", made.train), ("test", made.test))
    }
    spec = replace(
        cifar.CIFAR10, size=len(made.archive), mirrors=(), original=NOWHERE, hashes=hashes
    )
    monkeypatch.setattr(cifar, "CIFAR10", spec)
    monkeypatch.delenv(cifar.MIRRORS_VARIABLE, raising=False)


NOWHERE = "http://127.0.0.1:9"
