"""Every variant that is tried, and the ops and worlds it is tried on."""

import pytest

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.ops import Op
from pipelines.sources.base import Images
from pipelines.verification.world import (
    MEAN,
    SIZE,
    STD,
    alike,
    made,
    mean_255,
    noise_image,
    numbered,
    pixels,
    smooth_image,
    which,
)

OPTIONS = {"torchvision": ("workers=0", "workers=2")}


def variants() -> list[str]:
    """The spelling of every mode and option set of every pipeline."""
    return [building.canonical_name(spelling) for spelling in building.variants(OPTIONS)]


def eager_variants() -> list[str]:
    """The variants that need no compilation, for tests that try every op by itself.

    Compiled ones are held to fewer and longer policies here, since each compilation takes seconds,
    and to every op by `bench loaders --verify`.
    """
    return [variant for variant in variants() if not compiled(variant)]


def compiled(variant: str) -> bool:
    """Whether a variant compiles its policy."""
    return building.parse(variant).mode == "compiled"


def supported(variant: str, ops: tuple[Op, ...]) -> None:
    """Skips what a library says it lacks."""
    library = building.parse(variant).library
    for op in ops:
        if type(op) not in library.ops:
            pytest.skip(f"{library.name} has no {type(op).__name__}")


def build(variant: str, images: Images, ops: tuple[Op, ...], **options: object) -> Pipeline:
    """A pipeline of a variant over made images."""
    policy = Augmentation(ops=ops)
    return building.build(variant, images, policy, **{"batch_size": 64, **options})  # type: ignore[arg-type]


__all__ = [
    "MEAN",
    "SIZE",
    "STD",
    "alike",
    "made",
    "mean_255",
    "noise_image",
    "numbered",
    "pixels",
    "smooth_image",
    "which",
]
