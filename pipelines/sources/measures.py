"""Statistics and fingerprint of a set of images."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

LEVELS = 256
CHUNK_BYTES = 1 << 24


def mean_and_std(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel of images (N, H, W, C) scaled to [0, 1], exact up to the final rounding."""
    counts = np.zeros((images.shape[3], LEVELS), np.int64)
    step = max(1, CHUNK_BYTES // images[0].size)
    for start in range(0, len(images), step):
        part = images[start : start + step]
        for channel, count in enumerate(counts):
            count += np.bincount(part[..., channel].ravel(), minlength=LEVELS)
    moments = [_of_histogram(count.tolist()) for count in counts]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def _of_histogram(counts: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1]; Python's integers keep the sums exact."""
    total = sum(counts)
    first = sum(level * count for level, count in enumerate(counts))
    second = sum(level * level * count for level, count in enumerate(counts))
    top = LEVELS - 1
    return first / total / top, math.sqrt(second * total - first * first) / total / top


def fingerprint(images: Bytes, labels: Labels, classes: Sequence[str]) -> str:
    """SHA-256 over shape, image bytes, label bytes and class names."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(content(images))
    digest.update(content(labels))
    digest.update("\0".join(classes).encode())
    return digest.hexdigest()


def content(array: Bytes | Labels) -> memoryview:
    """The bytes of an array in C order, integers little-endian."""
    ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
