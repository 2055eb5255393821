"""Rectangles in images."""

import numpy as np
from numpy.typing import NDArray


def boxes(mask_NHW: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of each mask top, left, height and width, all 0 where it is empty; and the boxes."""
    found, filled = [], np.ones_like(mask_NHW)
    for axis in (2, 1):
        line: NDArray[np.bool_] = np.any(mask_NHW, axis=axis)
        start, length = line.argmax(axis=1), line.sum(axis=1)
        found.append((start, length))
        at = np.arange(line.shape[1])
        inside = (at >= start[:, None]) & (at < (start + length)[:, None])
        filled &= np.expand_dims(inside, axis)
    (top, high), (left, wide) = found
    return np.stack([top, left, high, wide], axis=1), filled
