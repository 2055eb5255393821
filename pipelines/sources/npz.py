"""A file of arrays, as `numpy.savez` writes it.

    numpy.savez("mine.npz", images=images, labels=labels)

`images` are uint8 (N, H, W, C) or (N, H, W), `labels` integers (N,). Optional are `test_images`,
`test_labels`, `validation_images`, `validation_labels`, and `classes`, the names of the classes.
Without a test and a validation set, a part of the images is the test set.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.sources.arrays import Arrays, Labelled, Set
from pipelines.sources.errors import Report, SourceError, listed
from pipelines.sources.folder import MAX_CLASSES
from pipelines.sources.measures import Bytes, Labels
from pipelines.sources.split import TEST_SHARE, holdout
from pipelines.sources.tree_name import SIZES

VERSION = 1
# Names of the arrays of each set, and those that other tools write.
NAMES: dict[Set, tuple[tuple[str, str], ...]] = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("validation_images", "validation_labels"), ("val_images", "val_labels")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
CLASSES = "classes"
BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def key(path: Path) -> str:
    """Identifies the file's state.

    Raises:
        SourceError: There is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror}); give npz:PATH with a file that exists"
        ) from error
    return f"npz-{VERSION}-{status.st_size}-{status.st_mtime_ns}"


def read(path: Path, report: Report) -> Arrays:
    """Reads and checks the arrays; nothing is unpickled.

    Raises:
        SourceError: It isn't such a file, or an array has another type or shape.
    """
    report(f"reading {path}")
    with _explained(path):
        arrays = _load(path)
        images = {
            which: (_images(arrays[names[0]], names[0]), _numbers(arrays[names[1]], names[1]))
            for which, pairs in NAMES.items()
            if (names := _present(arrays, pairs))
        }
        if "train" not in images:
            raise ValueError(f"it has no arrays images and labels, only {listed(sorted(arrays))}")
        for which, (pictures, labels) in images.items():
            if len(pictures) != len(labels):
                raise ValueError(
                    f"its {which} set has {len(pictures):,} images and {len(labels):,} labels"
                )
            if pictures.shape[1:] != images["train"][0].shape[1:]:
                raise ValueError(f"its {which} images have another size than its training images")
        return _arrays(images, arrays.get(CLASSES))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason:
            reason = "it has an array of Python objects; give arrays of numbers, and names as text"
        raise SourceError(
            f"{path} cannot be used: {reason} (npz:PATH needs numpy.savez's arrays images, uint8 "
            "(N, H, W, C) or (N, H, W), and labels, integers (N,))"
        ) from error


def _load(path: Path) -> dict[str, NDArray[Any]]:
    known = {name for pairs in NAMES.values() for names in pairs for name in names} | {CLASSES}
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no complete .npz file")
    with np.load(path, allow_pickle=False) as found:
        names = [name for name in found.files if name in known]
        return {name: found[name] for name in names or found.files}


def _present(
    arrays: Mapping[str, object], pairs: tuple[tuple[str, str], ...]
) -> tuple[str, str] | None:
    """The names of a set's images and labels."""
    for names in pairs:
        lacking = [name for name in names if name not in arrays]
        if len(lacking) == 1:
            other = names[0] if names[1] in lacking else names[1]
            raise ValueError(f"it has {other} without {lacking[0]}")
        if not lacking:
            return names
    return None


def _images(array: NDArray[Any], name: str) -> Bytes:
    """As (N, H, W, 3): grey is repeated, transparency dropped."""
    if array.dtype != np.uint8:
        advice = (
            "; scale them to 0 to 255 and use .astype('uint8')" if array.dtype.kind in "fiu" else ""
        )
        raise ValueError(f"{name} are {array.dtype}, not uint8{advice}")
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        first = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        advice = "; move the channels last with .transpose(0, 2, 3, 1)" if first else ""
        raise ValueError(f"{name} have the shape {array.shape}, not (N, H, W, 3){advice}")
    height, width = images.shape[1:3]
    if not len(images):
        raise ValueError(f"{name} are none")
    if height != width or height not in SIZES:
        raise ValueError(
            f"{name} are {width}x{height} pixels, not squares of {SIZES[0]} to {SIZES[-1]}"
        )
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images[..., :3]


def _numbers(array: NDArray[Any], name: str) -> Labels:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise ValueError(f"{name} are {array.dtype} {array.shape}, not integers (N,)")
    if len(flat) and (flat.min() < 0 or flat.max() > np.iinfo(np.int64).max):
        raise ValueError(
            f"{name} has {flat.min() if flat.min() < 0 else flat.max()}, which is no class"
        )
    return flat.astype(np.int64)


def _arrays(images: Mapping[Set, tuple[Bytes, Labels]], given: NDArray[Any] | None) -> Arrays:
    """The sets with labels from 0; without names, classes are called as their labels."""
    trained = np.unique(images["train"][1])
    for which, (_, labels) in images.items():
        if unknown := np.setdiff1d(labels, trained).tolist():
            raise ValueError(
                f"its {which} set has the label {unknown[0]}, of which there is no training image"
            )
    if given is None:
        values, names = trained, [str(value) for value in trained.tolist()]
    else:
        values, names = np.arange(given.size), [str(name) for name in given.ravel().tolist()]
        if given.dtype.kind not in "USiu" or len(set(names)) < len(names):
            raise ValueError(f"{CLASSES} are not different names")
        if given.dtype.kind == "S":
            names = [name.decode("utf-8", "backslashreplace") for name in given.ravel().tolist()]
        if trained[-1] >= len(names):
            raise ValueError(f"it has the label {trained[-1]} and {len(names):,} {CLASSES}")
    if len(names) < 2 or len(names) > MAX_CLASSES:
        raise ValueError(f"it has {len(names):,} classes, not 2 to {MAX_CLASSES:,}")
    sets = {
        which: Labelled(images=pictures, labels=np.searchsorted(values, labels).astype(np.int64))
        for which, (pictures, labels) in images.items()
    }
    if len(sets) > 1:
        return Arrays(sets=sets, classes=tuple(names))
    (whole,) = sets.values()
    parts = holdout(torch.from_numpy(whole.labels), TEST_SHARE)
    if not len(parts[1]):
        raise ValueError("it has one image of each class, so none is left for a test set")
    train, test = (
        Labelled(images=whole.images[rows.numpy()], labels=whole.labels[rows.numpy()])
        for rows in parts
    )
    return Arrays(sets={"train": train, "test": test}, classes=tuple(names), split=True)
