"""The variants of all pipelines, and what the contract tests build of them."""

import pytest

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.ops import Op
from pipelines.sources.base import Images

OPTIONS = dict.fromkeys(("torchvision", "albumentations"), ("workers=0", "workers=2"))


def variants() -> list[str]:
    """Every mode of every pipeline whose library is installed, and some options.

    Optional readers use native's compiled kernels, which are tested with native.
    """
    found = [building.parse(spelling) for spelling in building.variants(OPTIONS)]
    return [
        each.name
        for each in found
        if not each.library.install
        or (each.mode != "compiled" and not each.library.problem(each.mode, "cpu"))
    ]


def eager_variants() -> list[str]:
    """The variants that aren't compiled; `bench loaders --verify` tries all ops compiled too."""
    return [variant for variant in variants() if not compiled(variant)]


def compiled(variant: str) -> bool:
    return building.parse(variant).mode == "compiled"


def supported(variant: str, ops: tuple[Op, ...]) -> None:
    """Skips the test if the library doesn't declare the ops."""
    library = building.parse(variant).library
    for op in ops:
        if type(op) not in library.ops:
            pytest.skip(f"{library.name} has no {type(op).__name__}")


def build(variant: str, images: Images, ops: tuple[Op, ...], **options: object) -> Pipeline:
    policy = Augmentation(ops=ops)
    return building.build(variant, images, policy, **{"batch_size": 64, **options})
