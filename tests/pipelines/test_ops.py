"""Ops refuse parameters that no library could carry out."""

from typing import Any

import pytest

from pipelines.ops import AutoAugment, Crop, Cutout, HorizontalFlip, Op, RandAugment, TrivialAugment


@pytest.mark.parametrize(
    ("op", "bad"),
    [
        (Crop, {"pad": 0}),
        (Crop, {"pad": -1}),
        (Crop, {"padding": "edge"}),
        (HorizontalFlip, {"p": 1.5}),
        (HorizontalFlip, {"p": -0.1}),
        (HorizontalFlip, {"p": float("nan")}),
        (Cutout, {"size": 0}),
        (RandAugment, {"n": 0}),
        (RandAugment, {"magnitude": 31}),
        (RandAugment, {"magnitude": -1}),
        (RandAugment, {"bins": 1}),
        (TrivialAugment, {"bins": 0}),
        (AutoAugment, {"policy": "svhn"}),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(op: type[Op], bad: dict[str, Any]) -> None:
    (value,) = bad.values()
    with pytest.raises(ValueError, match=rf"{op.__name__}.*{value}"):
        op(**bad)
