"""Sources decoded once and kept as memory-mapped arrays: whole or not there at all."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.sources.base import Data, Images, SourceError

FORMAT = 1
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A decoded source: images uint8 (N, H, W, C), labels int64 (N,)."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What the cache knows beside the arrays; `sizes` are bytes of each array's file."""

    name: str
    classes: list[str]
    mean: list[float]
    std: list[float]
    train_fingerprint: str
    test_fingerprint: str
    sizes: dict[str, int]
    format: int = FORMAT


def read(folder: Path) -> Data | None:
    """The cached source; None when there is none or it is damaged."""
    try:
        meta = Meta(**json.loads((folder / "meta.json").read_text(encoding="utf-8")))
        if meta.format != FORMAT:
            return None
        if any((folder / f"{name}.npy").stat().st_size != meta.sizes[name] for name in ARRAYS):
            return None
        # Copy-on-write: nobody can damage the file through a tensor.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    sets = {
        which: Images(
            images=torch.from_numpy(arrays[f"{which}_images"]),
            labels=torch.from_numpy(np.array(arrays[f"{which}_labels"])),
            classes=tuple(meta.classes),
            mean=tuple(meta.mean),
            std=tuple(meta.std),
            fingerprint=fingerprint,
        )
        for which, fingerprint in (
            ("train", meta.train_fingerprint),
            ("test", meta.test_fingerprint),
        )
    }
    return Data(name=meta.name, train=sets["train"], test=sets["test"])


def write(folder: Path, name: str, raw: Raw) -> Data:
    """Caches a source and gives it back from there; of two writers at once one wins.

    Raises:
        SourceError: The cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise SourceError(f"cannot cache {name} in {folder.parent}: {error.strerror}") from error
    try:
        _write_files(temporary, name, raw)
        _replace(temporary, folder)
    except OSError as error:
        raise SourceError(f"cannot cache {name} in {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    data = read(folder)
    if data is None:
        raise SourceError(f"the cache of {name} in {folder} cannot be read back: check the disk")
    return data


def _write_files(folder: Path, name: str, raw: Raw) -> None:
    sizes = {}
    for array in ARRAYS:
        path = folder / f"{array}.npy"
        with path.open("wb") as file:
            np.save(file, np.ascontiguousarray(getattr(raw, array)))
            file.flush()
            os.fsync(file.fileno())
        sizes[array] = path.stat().st_size
    mean, std = statistics(raw.train_images)
    meta = Meta(
        name=name,
        classes=list(raw.classes),
        mean=mean,
        std=std,
        train_fingerprint=fingerprint(raw.train_images, raw.train_labels, raw.classes),
        test_fingerprint=fingerprint(raw.test_images, raw.test_labels, raw.classes),
        sizes=sizes,
    )
    with (folder / "meta.json").open("w", encoding="utf-8") as file:
        json.dump(asdict(meta), file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _replace(temporary: Path, folder: Path) -> None:
    """Renames into place; a damaged cache there is put aside first, a good one is kept."""
    for _ in range(3):
        try:
            temporary.rename(folder)
            return
        except OSError:
            if read(folder) is not None:
                return
            damaged = Path(tempfile.mkdtemp(prefix=".damaged.", dir=folder.parent))
            folder.rename(damaged / "cache")
            shutil.rmtree(damaged, ignore_errors=True)
    temporary.rename(folder)


def statistics(images_NHWC: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of images scaled to [0, 1].

    Exact: whole numbers are counted and added, the only rounding is the last.
    """
    values = np.arange(256)
    means, stds = [], []
    for channel in range(images_NHWC.shape[3]):
        counts = np.bincount(images_NHWC[..., channel].ravel(), minlength=256)
        total = int(counts.sum())
        first, second = int(counts @ values), int(counts @ values**2)
        means.append(first / total / 255)
        stds.append(float(np.sqrt((second * total - first**2) / total**2) / 255))
    return means, stds


def fingerprint(
    images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], classes: tuple[str, ...]
) -> str:
    """SHA-256 over shape, image bytes, labels and class names."""
    digest = hashlib.sha256(json.dumps([list(images_NHWC.shape), list(classes)]).encode())
    digest.update(np.ascontiguousarray(images_NHWC).data)
    digest.update(np.ascontiguousarray(labels_N, dtype="<i8").data)
    return digest.hexdigest()
