"""Ops that change pixel values give the reference's pixels, alone and one after another."""

import numpy as np
import pytest
import torch

from pipelines.base import Unsupported
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    MixUp,
    Op,
    RandomChoice,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
    VerticalFlip,
)
from pipelines.sources.base import Images
from pipelines.verification import reference
from pipelines.verification.made_images import SIZE, made, mean_255, numbered, pixels, smooth_image
from tests.contract.variants import build, eager_variants, supported

RECENT = (VerticalFlip(), Rotation(), Grayscale(p=1.0), Solarize(), GaussianBlur(), RandomChoice())
TOLERANCE = 1.0  # of 255: libraries round, and weigh grey with three or four digits

every_variant = pytest.mark.parametrize("variant", eager_variants())


@every_variant
def test_an_op_that_mixes_must_be_the_last(variant: str) -> None:
    ops = (MixUp(), HorizontalFlip())
    supported(variant, ops)
    with pytest.raises(Unsupported, match="MixUp mixes finished images: it comes last"):
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


@every_variant
@pytest.mark.parametrize("level", [0, 1, 85, 128, 200, 255])
def test_solarize_inverts_from_the_threshold_on(variant: str, level: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(SIZE, SIZE, 1).repeat(3, axis=2)
    ops = (Solarize(threshold=level / 255, p=1.0),)
    supported(variant, ops)
    with build(variant, made(levels[None].repeat(64, axis=0)), ops) as pipeline:
        found = pixels(next(iter(pipeline.epoch(0)))[0])
    expected = np.where(levels >= level, 255 - levels, levels)
    assert np.abs(found - expected).max() < TOLERANCE


BEFORE_AND_AFTER = (
    VerticalFlip(p=1.0),
    Crop(pad=1, padding="zero"),
    Grayscale(p=1.0),
    VerticalFlip(p=1.0),
    Solarize(threshold=0.0, p=1.0),
)


@every_variant
def test_vertical_flips_and_edits_keep_the_policys_order(variant: str) -> None:
    supported(variant, BEFORE_AND_AFTER)
    image = smooth_image().astype(float)
    with build(variant, made(smooth_image()[None].repeat(64, axis=0)), BEFORE_AND_AFTER) as made_by:
        found = pixels(next(iter(made_by.epoch(0)))[0])
    possible = [
        255 - reference.grey(reference.crop(BEFORE_AND_AFTER[1], image[::-1], image, *at))[::-1]
        for at in np.ndindex(3, 3)
    ]
    off = np.abs(found[:, None] - np.stack(possible)).max(axis=(2, 3, 4)).min(axis=1)
    assert off.max() < TOLERANCE


@every_variant
@pytest.mark.parametrize("op", RECENT, ids=lambda op: type(op).__name__)
def test_images_of_one_channel(variant: str, op: Op) -> None:
    supported(variant, (op,))
    images = Images(
        images=torch.from_numpy(smooth_image()[..., :1].copy())[None].repeat(64, 1, 1, 1),
        labels=torch.arange(64) % 2,
        classes=("a", "b"),
        mean=(0.4,),
        std=(0.2,),
    )
    with build(variant, images, (op,)) as pipeline:
        x_BCHW, _ = next(iter(pipeline.epoch(0)))
    assert x_BCHW.shape == (64, 1, SIZE, SIZE)
    found = (x_BCHW * 0.2 + 0.4) * 255
    assert found.min() > -1
    assert found.max() < 256
    if isinstance(op, Grayscale):
        assert (found.permute(0, 2, 3, 1) - images.images).abs().max() < 0.01


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
    (
        VerticalFlip(),
        Crop(pad=2, padding="reflect"),
        Rotation(),
        VerticalFlip(),
        Grayscale(p=0.3),
        Solarize(),
        GaussianBlur(),
        RandomChoice(),
    ),
)


@pytest.mark.parametrize("ops", EVERY_OP, ids=["first", "second", "third"])
def test_compiled_native_gives_what_eager_native_gives(ops: tuple[Op, ...]) -> None:
    images = made(np.random.default_rng(0).integers(0, 256, (128, SIZE, SIZE, 3), dtype=np.uint8))
    batches = []
    for variant in ("native", "native[eager]"):
        with build(variant, images, ops) as pipeline:
            batches.append(list(pipeline.epoch(1)))
    for (x, y), (expected, labels) in zip(*batches, strict=True):
        torch.testing.assert_close(x, expected, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(y, labels)
