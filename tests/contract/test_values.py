"""Ops that change pixel values give the reference's pixels, alone and one after another."""

import numpy as np
import pytest
import torch

from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    HorizontalFlip,
    MixUp,
    Op,
    RandomErasing,
    RandomResizedCrop,
)
from pipelines.verification import reference
from pipelines.verification.made_images import SIZE, made, mean_255, numbered, pixels, smooth_image
from tests.contract.variants import build, eager_variants, supported

TOLERANCE = 1.0  # of 255: libraries round, and weigh grey with three or four digits

every_variant = pytest.mark.parametrize("variant", eager_variants())


@every_variant
def test_an_op_that_mixes_must_be_the_last(variant: str) -> None:
    ops = (MixUp(), HorizontalFlip())
    supported(variant, ops)
    with pytest.raises(ValueError, match="MixUp mixes finished images: it comes last"):
        build(variant, numbered(64), ops)


LONG = (
    HorizontalFlip(p=1.0),
    ColorJitter(brightness=(1.2, 1.2), contrast=(0.8, 0.8), saturation=(1.3, 1.3)),
    HorizontalFlip(p=1.0),
    Affine(degrees=0, translate=0, scale=(1.25, 1.25)),
)


@pytest.mark.parametrize(
    "variant", [*eager_variants(), pytest.param("kornia[compiled]", marks=pytest.mark.slow)]
)
def test_ops_are_carried_out_in_the_policys_order(variant: str) -> None:
    supported(variant, LONG)
    with build(variant, made(smooth_image()[None].repeat(64, axis=0)), LONG) as pipeline:
        output = pixels(next(iter(pipeline.epoch(0)))[0])[0]
    coloured = reference.jitter(
        smooth_image().astype(float), brightness=1.2, contrast=0.8, saturation=1.3, hue=0.0
    )
    expected = reference.warp(coloured, degrees=0, right=0, down=0, scale=1.25)
    assert np.abs(output - expected).max() < TOLERANCE


@every_variant
def test_moves_after_an_edit_keep_their_fills(variant: str) -> None:
    grey = ColorJitter(brightness=(0.5, 0.5), contrast=(1, 1), saturation=(1, 1))
    ops = (grey, Crop(pad=4, padding="zero"), Cutout(size=4))
    supported(variant, ops)
    image = np.full((SIZE, SIZE, 3), 240, dtype=np.uint8)
    with build(variant, made(image[None].repeat(64, axis=0)), ops) as pipeline:
        found = pixels(next(iter(pipeline.epoch(0)))[0])
    known = np.stack([np.zeros(3), np.full(3, 120.0), mean_255()])
    distance = np.abs(found[:, :, :, None] - known).max(axis=4)
    assert distance.min(axis=3).max() < TOLERANCE
    covered = (distance.argmin(axis=3) == 2).sum(axis=(1, 2))
    assert (covered == 16).all()


EVERY_OP = (
    (
        AlternatingFlip(),
        Crop(pad=2, padding="zero"),
        RandomErasing(p=0.8),
        ColorJitter(hue=(-0.1, 0.1)),
        Affine(),
        Cutout(size=4),
        MixUp(),
    ),
    (HorizontalFlip(), RandomResizedCrop(), Crop(pad=2, padding="reflect"), CutMix()),
)


@pytest.mark.parametrize("ops", EVERY_OP, ids=["first", "second"])
def test_compiled_native_gives_what_eager_native_gives(ops: tuple[Op, ...]) -> None:
    images = made(np.random.default_rng(0).integers(0, 256, (128, SIZE, SIZE, 3), dtype=np.uint8))
    batches = []
    for variant in ("native", "native[eager]"):
        with build(variant, images, ops) as pipeline:
            batches.append(list(pipeline.epoch(1)))
    for (x, y), (expected, labels) in zip(*batches, strict=True):
        torch.testing.assert_close(x, expected, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(y, labels)
