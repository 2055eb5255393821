"""A source as numpy arrays: what makers give and the cache holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.sources.measures import Bytes, Labels

Set = Literal["train", "test"]
SETS: tuple[Set, ...] = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Images uint8 (N, H, W, C) and labels int64 (N,)."""

    images: Bytes
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """A source's two sets and the names that labels are indices into."""

    sets: Mapping[Set, Labelled]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cached(Arrays):
    """A source as the cache holds it, mapped copy-on-write.

    Args:
        mean: Per channel, of the training images scaled to [0, 1].
        std: Likewise; 1 for a channel that has the same value everywhere.
        fingerprints: Of each set, as `measures.fingerprint` gives it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprints: Mapping[Set, str]
