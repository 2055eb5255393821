"""What a way to an op's parameters is, and what the ways share; see `ways`."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sources.base import Images
from pipelines.verification import world
from pipelines.verification.trial import Delivered

Whole = NDArray[np.int64]
EXACT = 0.1  # of 255: for ops that only move pixels
CLOSE = 0.5  # of 255: for ops that compute; libraries weigh grey with three or four digits
BINS = 16


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the parameters of one policy are read off.

    Args:
        images: What to put in.
        read: The parameters (N, K), and the worst pixel's error of 255.
        names: Of the K parameters.
        expected: For each parameter, the chance of each value 0.. (float), or how often it comes
            in draws of a plain way (int).
        tolerance: The error that is allowed.
        apart: Whether the parameters are drawn independently of each other.
    """

    images: Images
    read: Callable[[Delivered], tuple[Whole, float]]
    names: tuple[str, ...] = ()
    expected: tuple[NDArray[np.int64] | NDArray[np.float64], ...] = ()
    tolerance: float = EXACT
    apart: bool = False


def rectangles(
    made: Whole, images: Images, read: Callable[[Delivered], tuple[Whole, float]], tolerance: float
) -> Way:
    """A way to rectangles (top, left, height, width) whose place is even over where they fit.

    Args:
        made: Those that a plain way draws.
        images: What to put in.
        read: The rectangles that were drawn, and the worst pixel's error.
        tolerance: The error that is allowed.
    """

    def places(found: Delivered) -> tuple[Whole, float]:
        drawn, error = read(found)
        # A place among few becomes a number in 0..1 by a number of ours, so that all are alike.
        rng = np.random.default_rng(zlib.crc32(drawn.tobytes()))
        room = world.SIZE + 1 - drawn[:, 2:]
        alike = found.batch_size if found.shared else 1
        spread = rng.random((len(room) // alike, 2)).repeat(alike, axis=0)
        share = (drawn[:, :2] + spread) / np.where(drawn[:, 2:] > 0, room, 1)
        return np.concatenate([binned(share, ((0, 1), (0, 1))), drawn[:, 2:]], axis=1), error

    sides = [np.bincount(column, minlength=world.SIZE + 1) for column in made[:, 2:].T]
    return Way(
        images=images,
        read=places,
        names=("place down", "place right", "height", "width"),
        expected=(even_bins(), even_bins(), *sides),
        tolerance=tolerance,
    )


def none_drawn(found: Delivered) -> Whole:
    """No parameters of each sample."""
    return np.empty((len(found.pixels), 0), dtype=np.int64)


def even_bins() -> NDArray[np.float64]:
    """Chances of the bins of a range, and of what lies outside of it."""
    return np.append(np.full(BINS, 1 / BINS), 0.0)


def binned(values: NDArray[np.float64], ranges: tuple[tuple[float, float], ...]) -> Whole:
    """Values (N, K) to bins of their ranges; `BINS` for what lies outside."""
    low, high = np.array(ranges).T
    share = (values - low) / (high - low)
    inside = (share > -0.01) & (share < 1.01)  # reading off has its own error
    bins = (share * BINS).clip(0, BINS - 1).astype(np.int64)
    found: Whole = np.where(inside, bins, BINS)
    return found
