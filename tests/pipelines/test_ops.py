"""Ops refuse parameters that no library could carry out."""

import re
from typing import Any

import pytest

from pipelines import augmentations
from pipelines.ops import (
    AlternatingFlip,
    AutoAugment,
    Crop,
    CutMix,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    MixUp,
    Op,
    RandAugment,
    RandomChoice,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
    TrivialAugment,
    VerticalFlip,
    problem,
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


@pytest.mark.parametrize(
    ("op", "size", "reason"),
    [
        (Cutout(size=33), (32, 32), "its size is at most 31"),
        (Cutout(size=32), (32, 32), "its size is at most 31"),  # it would leave nothing
        (Cutout(size=31), (32, 32), ""),
        (Cutout(size=16), (64, 16), "its size is at most 15"),
        (Crop(pad=32), (32, 32), "its pad is at most 31"),
        (Crop(pad=4, padding="zero"), (4, 4), "its pad is at most 3"),
        (Crop(pad=31), (32, 32), ""),
        (GaussianBlur(kernel=9), (4, 4), "its kernel is at most 7"),
        (GaussianBlur(kernel=7), (4, 4), ""),
        (RandomErasing(scale=(1.0, 1.0)), (32, 32), "no rectangle of its scale and ratio fits"),
        (RandomErasing(), (1, 1), "no rectangle"),
        (RandomErasing(), (4, 4), ""),
        (RandomErasing(scale=(0.3, 0.3), ratio=(20.0, 30.0)), (32, 32), "no rectangle"),
        (RandomResizedCrop(scale=(0.9, 1.0), ratio=(9.0, 9.0)), (32, 32), "no rectangle"),
        (RandomResizedCrop(scale=(0.001, 0.001)), (8, 8), "no rectangle"),
        (RandomResizedCrop(scale=(1.0, 1.0), ratio=(2.0, 2.0)), (16, 32), ""),
        (RandomResizedCrop(scale=(1.0, 1.0), ratio=(2.0, 2.0)), (32, 16), "no rectangle"),
        (RandomResizedCrop(), (2, 2), ""),
        (HorizontalFlip(), (1, 1), ""),
    ],
)
def test_an_op_that_does_not_fit_the_images_is_refused(
    op: Op, size: tuple[int, int], reason: str
) -> None:
    said = problem([HorizontalFlip(), op], size)
    if not reason:
        assert said == ""
    else:
        height, width = size
        assert said.startswith(f"{op} does not fit images of {height} x {width} pixels: {reason}")


@pytest.mark.parametrize(
    ("ops", "said"),
    [
        ((MixUp(), Crop()), "MixUp mixes finished images: it comes last in a policy"),
        ((RandomChoice(), HorizontalFlip()), "RandomChoice mixes finished images"),
        ((MixUp(), CutMix()), "MixUp and CutMix both mix images"),
        ((CutMix(), Crop(), CutMix()), "CutMix and CutMix both mix images"),
        ((AlternatingFlip(), Crop(), AlternatingFlip()), "AlternatingFlip twice mirrors"),
        ((Crop(), CutMix()), ""),
        ((), ""),
    ],
)
def test_ops_that_do_not_go_together_are_refused(ops: tuple[Op, ...], said: str) -> None:
    found = problem(ops, (32, 32))
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_all_policies_of_the_suite_fit_images_of_32_pixels() -> None:
    for policy in augmentations.catalog.entries.values():
        for size in (32, 48, 224):
            assert problem(policy.ops, (size, size)) == "", policy.name
