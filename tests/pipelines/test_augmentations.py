"""Augmentations are lists of ops with a reason; the suite's own are what papers say."""

from typing import Any

import pytest

from pipelines.augmentations import Augmentation, catalog
from pipelines.ops import Crop, Cutout, HorizontalFlip

OURS = {
    "none": (),
    "flip_crop": (Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5)),
    "flip_crop_cutout": (Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), Cutout(size=8)),
}


@pytest.mark.parametrize("name", OURS)
def test_the_policies_are_the_published_ones(name: str) -> None:
    assert catalog.get(name).ops == OURS[name]
    assert catalog.get(name).default


def test_a_list_of_ops_is_kept_as_a_tuple_and_can_be_hashed() -> None:
    ops = [HorizontalFlip(p=1.0)]
    policy = Augmentation(ops=ops)
    ops.clear()
    assert policy.ops == (HorizontalFlip(p=1.0),)
    assert policy.name == "custom"
    assert hash(policy) == hash(Augmentation(ops=(HorizontalFlip(p=1.0),)))


@pytest.mark.parametrize("bad", [[HorizontalFlip], ["flip"], [None]])
def test_a_non_op_is_refused_by_name(bad: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"augmentation 'mine' holds .*, which is not an op"):
        Augmentation(name="mine", ops=bad)
