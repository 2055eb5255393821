"""A source as numpy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.sources.measures import Bytes, Labels

Set = Literal["train", "test", "validation"]
SETS: tuple[Set, ...] = ("train", "test", "validation")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Images uint8 (N, H, W, C) and labels int64 (N,)."""

    images: Bytes
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class BadFile:
    """An image file that cannot be read.

    Args:
        path: Relative to the tree, as text.
        reason: Why not, a few words.
    """

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """A source as it is read.

    Args:
        sets: "train", and "test" or "validation" or both.
        bad: Files that can't be read.
        split: Whether the test set was split off here.
    """

    sets: Mapping[Set, Labelled]
    classes: tuple[str, ...]
    bad: tuple[BadFile, ...] = ()
    split: bool = False


@dataclass(frozen=True, kw_only=True)
class Cached(Arrays):
    """A source in the cache, mapped copy-on-write.

    Args:
        mean: Mean of each channel of the training images, scaled to [0, 1].
        std: Standard deviation of each channel; 1 for a constant channel.
        fingerprints: `measures.fingerprint` of each set.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprints: Mapping[Set, str]
