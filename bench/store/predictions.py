"""Files of test-set predictions: numeric arrays without pickled objects."""

import struct
import zlib
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, LargeZipFile, ZipFile

from bench.store.files import UnusableFile, read_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

LARGEST = 2**29  # bytes, compressed and unpacked
ADVICE = "run it again"
# Exceptions that damaged archives and arrays raise.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError,
    BadZipFile, LargeZipFile, zlib.error, struct.error,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A run's predictions for the test set, in the order of the source.

    Args:
        labels: int (N,).
        predictions: int (N,).
        positives: int (classes, 2, thresholds): true and false positives of each class at evenly
            spaced probability thresholds from 0 to 1. None in old files.
    """

    labels: "np.ndarray"
    predictions: "np.ndarray"
    positives: "np.ndarray | None" = None

    @property
    def right(self) -> "np.ndarray":
        """Which images are classified correctly, bool (N,)."""
        right: np.ndarray = self.predictions == self.labels
        return right


def to_npz(
    labels: "ArrayLike", predictions: "ArrayLike", positives: "ArrayLike | None" = None
) -> bytes:
    """The content of the file; shapes as in `Predictions`."""
    import numpy as np

    arrays = {"labels": labels, "predictions": predictions}
    if positives is not None:
        arrays["positives"] = positives
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_predictions(path: Path) -> Predictions:
    """Reads and checks the file.

    Raises:
        FileNotFoundError: There is no such file.
        UnusableFile: It cannot be read, or does not hold predictions.
    """
    try:
        found = Predictions(**_arrays(read_file(path, LARGEST)))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise UnusableFile(path, f"cannot be read: {reason}", ADVICE) from error
    problem = _problem(found)
    if problem:
        raise UnusableFile(path, f"does not hold predictions: {problem}", ADVICE)
    return found


def _arrays(content: bytes) -> "dict[str, np.ndarray]":
    import numpy as np

    with ZipFile(BytesIO(content)) as archive:  # numpy reads no more than the declared size
        unpacked_size = sum(entry.file_size for entry in archive.infolist())
    if unpacked_size > LARGEST:
        raise ValueError(f"it would unpack to {unpacked_size:,} bytes, more than {LARGEST:,}")
    names = {field.name for field in fields(Predictions)}
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        # Members that are not arrays come as bytes.
        return {name: np.asarray(arrays[name]) for name in names.intersection(arrays.files)}


def _problem(found: Predictions) -> str:
    for name in ("labels", "predictions"):
        array = getattr(found, name)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            return f"{name} of type {array.dtype} and shape {array.shape} are not class numbers"
        if len(array) and array.min() < 0:
            return f"{name} go down to {array.min()}"
    if len(found.labels) != len(found.predictions):
        return f"{len(found.predictions)} predictions for {len(found.labels)} labels"
    positives = found.positives
    if positives is not None and (positives.ndim != 3 or positives.dtype.kind not in "iu"):
        return f"positives of type {positives.dtype} and shape {positives.shape} are not counts"
    return ""
