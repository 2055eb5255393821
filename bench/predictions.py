"""What a run predicted for the test set, as a file: arrays of numbers, nothing to unpickle."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from bench.files import StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


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
        StoreError: It cannot be read.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as found:
            return Predictions(**{name: found[name] for name in found.files})
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, BadZipFile) as error:
        raise StoreError(f"{path} cannot be read, run it again: {error}") from error


__all__ = ["Predictions", "packed", "unpacked"]
