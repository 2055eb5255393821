"""Ops refuse parameters that no library could carry out."""

import re
from typing import Any

import pytest

from pipelines.ops import (
    AutoAugment,
    Crop,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Op,
    RandAugment,
    RandomChoice,
    Rotation,
    Solarize,
    TrivialAugment,
    VerticalFlip,
)


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
        (VerticalFlip, {"p": -0.5}),
        (Rotation, {"degrees": 181.0}),
        (Rotation, {"degrees": -1.0}),
        (Grayscale, {"p": 1.1}),
        (Solarize, {"threshold": 128.0}),
        (Solarize, {"p": 2.0}),
        (GaussianBlur, {"kernel": 4}),
        (GaussianBlur, {"kernel": -1}),
        (GaussianBlur, {"sigma": (2.0, 1.0)}),
        (GaussianBlur, {"sigma": (0.0, 1.0)}),
        (RandomChoice, {"p": 1.5}),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(op: type[Op], bad: dict[str, Any]) -> None:
    (value,) = bad.values()
    with pytest.raises(ValueError, match=rf"{op.__name__}.*{re.escape(str(value))}"):
        op(**bad)
