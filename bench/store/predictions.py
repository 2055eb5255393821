"""What a run predicted for the test set, as a file: arrays of numbers, nothing to unpickle."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, LargeZipFile, ZipFile

from bench.store.files import UnusableFile, read_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

LARGEST = 2**29  # bytes, as a file and unpacked
RERUN = "run it again"
# All that damaged archives and arrays make their readers raise.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError,
    BadZipFile, LargeZipFile, zlib.error, struct.error,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a run predicted for the test set, in the order of the source.

    Args:
        labels: int (N,).
        predictions: int (N,).
        probabilities: float (N, classes), or None when they were not kept.
        positives: int (classes, 2, thresholds): true and false positives of each class where its
            probability is at least a threshold, which divide 0 to 1 evenly. None in old files.
    """

    labels: "np.ndarray"
    predictions: "np.ndarray"
    probabilities: "np.ndarray | None" = None
    positives: "np.ndarray | None" = None


def packed(**arrays: "ArrayLike | None") -> bytes:
    """The file's content; shapes as in `Predictions`, what is None is left out."""
    import numpy as np

    kept = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **kept)
    return buffer.getvalue()


def unpacked(path: Path) -> Predictions:
    """What the file holds.

    Raises:
        FileNotFoundError: There is none.
        UnusableFile: It cannot be read, or holds no predictions.
    """
    try:
        found = Predictions(**_arrays(read_file(path, LARGEST)))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise UnusableFile(path, f"cannot be read: {reason}", RERUN) from error
    problem = _problem(found)
    if problem:
        raise UnusableFile(path, f"does not hold predictions: {problem}", RERUN)
    return found


def _arrays(content: bytes) -> "dict[str, np.ndarray]":
    import numpy as np

    with ZipFile(BytesIO(content)) as archive:  # what unpacks to more than it says is cut there
        unpacked_size = sum(entry.file_size for entry in archive.infolist())
    if unpacked_size > LARGEST:
        raise ValueError(f"it would unpack to {unpacked_size:,} bytes, more than {LARGEST:,}")
    with np.load(BytesIO(content), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _problem(found: Predictions) -> str:
    """What does not fit together; "" for nothing."""
    arrays = {"labels": found.labels, "predictions": found.predictions}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in "iu":
            return f"{name} of type {array.dtype} and shape {array.shape} are no class numbers"
        if len(array) and array.min() < 0:
            return f"{name} go down to {array.min()}"
    if len(found.labels) != len(found.predictions):
        return f"{len(found.predictions)} predictions for {len(found.labels)} labels"
    positives = found.positives
    if positives is not None and (positives.ndim != 3 or positives.dtype.kind not in "iu"):
        return f"positives of type {positives.dtype} and shape {positives.shape} are no counts"
    return ""
