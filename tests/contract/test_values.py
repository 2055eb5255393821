"""Ops that change pixel values: the same pixels as the plain way, parameters drawn as declared.

Ranges of one point pin the parameters, so that a pipeline's draws need not be known. Where a range
is needed, the parameter is found by searching a fine grid on a smooth image, whose pixels move
little between two points of it.
"""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from pipelines import building
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
from pipelines.sources.base import Images
from pipelines.verification import plain
from tests.contract.test_draws import ALPHA, supported
from tests.contract.variants import (
    SIZE,
    build,
    eager_variants,
    made,
    mean_255,
    numbered,
    pixels,
    smooth_image,
    which,
)

TOLERANCE = 1.0  # of 255: libraries round, and weigh grey with three or four digits
SAMPLES = 512

every_variant = pytest.mark.parametrize("variant", eager_variants())


def outputs(variant: str, op: Op, image: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """What becomes of `count` copies of an image, in 0..255."""
    supported(variant, (op,))
    with build(variant, made(image[None].repeat(count, axis=0)), (op,), batch_size=64) as pipeline:
        return np.concatenate([pixels(x) for x, _ in pipeline.epoch(0)])


JITTERS = {
    "brightness": {"brightness": 1.3, "contrast": 1.0, "saturation": 1.0, "hue": 0.0},
    "contrast": {"brightness": 1.0, "contrast": 0.6, "saturation": 1.0, "hue": 0.0},
    "saturation": {"brightness": 1.0, "contrast": 1.0, "saturation": 1.7, "hue": 0.0},
    "hue": {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.1},
    "all": {"brightness": 0.8, "contrast": 1.2, "saturation": 0.7, "hue": -0.2},
}


@pytest.mark.parametrize("part", JITTERS)
@every_variant
def test_colours_are_jittered_as_the_plain_way_does(variant: str, part: str) -> None:
    factors = JITTERS[part]
    op = ColorJitter(**{name: (factor, factor) for name, factor in factors.items()})
    expected = plain.jitter(smooth_image().astype(float), **factors)
    for output in outputs(variant, op, smooth_image(), 64)[:4]:
        assert np.abs(output - expected).max() < TOLERANCE


@every_variant
def test_jitter_is_drawn_evenly_for_each_sample(variant: str) -> None:
    one = (1.0, 1.0)
    op = ColorJitter(brightness=(0.5, 1.2), contrast=one, saturation=one)
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    factors = outputs(variant, op, image, SAMPLES).mean(axis=(1, 2, 3)) / 200
    assert stats.kstest(factors, stats.uniform(0.5, 0.7).cdf).pvalue > ALPHA
    assert len(np.unique(factors.round(5))) > 0.95 * SAMPLES


# An op, the grid that is searched, and what half a step of it does to a pixel beside black.
WARPS = {
    "degrees": (Affine(degrees=30, translate=0, scale=(1, 1)), np.linspace(-30, 30, 241), 6.0),
    "right": (Affine(degrees=0, translate=0.125, scale=(1, 1)), np.linspace(-2, 2, 33), 28.0),
    "scale": (Affine(degrees=0, translate=0, scale=(0.8, 1.3)), np.linspace(0.8, 1.3, 201), 5.0),
}


@every_variant
def test_a_fixed_warp_agrees_with_the_plain_way(variant: str) -> None:
    op = Affine(degrees=0, translate=0, scale=(1.25, 1.25))
    expected = plain.warp(smooth_image().astype(float), degrees=0, right=0, down=0, scale=1.25)
    assert np.abs(outputs(variant, op, smooth_image(), 64)[0] - expected).max() < 0.01


@cache
def warped(part: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parameters of the grid (G, 1 or 2), and what the plain way makes of each (G, H, W, C)."""
    still = {"degrees": 0.0, "right": 0.0, "down": 0.0, "scale": 1.0}
    grid = WARPS[part][1]
    names = ("right", "down") if part == "right" else (part,)
    tried = np.stack(np.meshgrid(*[grid] * len(names), indexing="ij"), axis=-1)
    tried = tried.reshape(-1, len(names))
    image = smooth_image().astype(float)
    made = [plain.warp(image, **still | dict(zip(names, each, strict=True))) for each in tried]
    return tried, np.stack(made)


@pytest.mark.parametrize("part", WARPS)
@every_variant
def test_warps_agree_with_the_plain_way_and_are_drawn_evenly(variant: str, part: str) -> None:
    op, grid, tolerance = WARPS[part]
    tried, made = warped(part)
    found = outputs(variant, op, smooth_image(), SAMPLES)
    flat, wanted = found.reshape(SAMPLES, -1).astype(float), made.reshape(len(made), -1)
    best = ((wanted**2).sum(axis=1)[None] - 2 * flat @ wanted.T).argmin(axis=1)
    assert np.abs(made[best] - found).max() < tolerance
    for column in range(tried.shape[1]):
        values = tried[best, column]
        values = values + np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLES) * (grid[1] - grid[0])
        uniform = stats.uniform(grid[0], grid[-1] - grid[0])
        assert stats.kstest(values, uniform.cdf).pvalue > ALPHA


@every_variant
def test_resized_crops_are_rectangles_drawn_as_documented(variant: str) -> None:
    op = RandomResizedCrop(scale=(0.4, 1.0), ratio=(0.7, 1.4))
    found = outputs(variant, op, smooth_image(), SAMPLES)
    rng = np.random.default_rng(0)
    expected = [plain.draw_crop(op, SIZE, rng) for _ in range(20_000)]
    sizes = sorted({(high, wide) for _, _, high, wide in expected})
    possible = [
        (top, left, high, wide)
        for high, wide in sizes
        for top in range(SIZE - high + 1)
        for left in range(SIZE - wide + 1)
    ]
    made = np.stack(
        [plain.cut_and_resize(smooth_image().astype(float), *each) for each in possible]
    )
    flat, wanted = found.reshape(SAMPLES, -1).astype(float), made.reshape(len(possible), -1)
    best = ((wanted**2).sum(axis=1)[None] - 2 * flat @ wanted.T).argmin(axis=1)
    assert np.abs(wanted[best] - flat).max() < TOLERANCE
    drawn = np.array([possible[index] for index in best])
    for column in range(4):
        assert same_distribution(drawn[:, column], np.array(expected)[:, column])


def same_distribution(few: NDArray[np.int64], many: NDArray[np.int64]) -> bool:
    """Whether counts of whole numbers could come from one distribution; rare ones are pooled."""
    values, counts = np.unique(many, return_counts=True)
    common = values[counts * len(few) / len(many) >= 8]
    counted = [
        [*((x == value).sum() for value in common), (~np.isin(x, common)).sum()]
        for x in (few, many)
    ]
    table = np.array(counted)
    table = table[:, table.sum(axis=0) > 0]
    return table.shape[1] < 2 or bool(stats.chi2_contingency(table).pvalue > ALPHA)


@every_variant
def test_erased_rectangles_are_drawn_as_documented(variant: str) -> None:
    op = RandomErasing(p=0.7, scale=(0.05, 0.4), ratio=(0.4, 2.5))
    image = np.full((SIZE, SIZE, 3), 250, dtype=np.uint8)
    found = outputs(variant, op, image, 1024)
    drawn = []
    for output in found:
        erased = np.abs(output - mean_255()).max(axis=2) < 0.1
        assert (np.abs(output - 250).max(axis=2) < 0.1)[~erased].all()
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        high, wide = (int(np.ptp(x)) + 1 if len(x) else 0 for x in (rows, columns))
        assert erased.sum() == high * wide
        drawn.append((rows[0], columns[0], high, wide) if high else (-1, -1, 0, 0))
    rng = np.random.default_rng(0)
    expected = [plain.draw_erasing(op, SIZE, rng) or (-1, -1, 0, 0) for _ in range(20_000)]
    for column in range(4):
        assert same_distribution(np.array(drawn)[:, column], np.array(expected)[:, column])


@every_variant
def test_an_alternating_flip_shows_both_orientations_in_every_two_epochs(variant: str) -> None:
    op = AlternatingFlip()
    supported(variant, (op,))
    images = numbered(512)
    images.images[:, :, SIZE // 2 :, 2] = 90  # the blue of the right half tells left from right
    with build(variant, images, (op,), batch_size=64) as pipeline:
        first, second, third = (orientations(pipeline.epoch(index)) for index in range(3))
    assert ((first + second) == 1).all()
    assert (first == third).all()
    assert 180 < first.sum() < 332


def orientations(epoch: object) -> NDArray[np.int64]:
    """1 for mirrored, by number of the image."""
    mirrored = np.zeros(512, dtype=np.int64)
    for x, _ in epoch:  # type: ignore[attr-defined]
        left = pixels(x)[:, :, : SIZE // 2, 2].mean(axis=(1, 2))
        mirrored[which(x)] = left < 150
    return mirrored


def mixed(variant: str, op: Op) -> tuple[NDArray[np.float32], Tensor, NDArray[np.int64], Images]:
    """Pixels, labels, and the order of the images of one epoch."""
    supported(variant, (op,))
    images = numbered(256)
    with build(variant, images, (op,), batch_size=64) as pipeline:
        batches = list(pipeline.epoch(0))
        order = pipeline.permutation(0).numpy()
    labels = torch.cat([y for _, y in batches])
    assert labels.dtype == torch.float32
    assert labels.shape == (256, 10)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(256))
    return np.concatenate([pixels(x) for x, _ in batches]), labels, order, images


@every_variant
@pytest.mark.parametrize("op", [MixUp(alpha=0.8), CutMix(alpha=0.8)], ids=["mixup", "cutmix"])
def test_images_and_labels_are_mixed_alike(variant: str, op: Op) -> None:
    found, labels, order, images = mixed(variant, op)
    source = images.images.numpy().astype(float)
    partner = np.roll(order, 1, axis=1).ravel()
    own_image, other_image = source[order.ravel()], source[partner]
    gap = own_image - other_image
    if isinstance(op, MixUp):
        own = ((found - other_image) * gap).sum(axis=(1, 2, 3)) / (gap**2).sum(axis=(1, 2, 3))
        expected = other_image + own[:, None, None, None] * gap
        assert np.abs(expected - found).max() < 0.1
    else:
        is_own = np.abs(found - own_image).max(axis=3) < 0.1
        is_other = np.abs(found - other_image).max(axis=3) < 0.1
        assert (is_own | is_other).all()
        own = is_own.mean(axis=(1, 2))
    one_hot = np.eye(10)[images.labels.numpy()]
    expected_labels = one_hot[order.ravel()] * own[:, None] + one_hot[partner] * (1 - own[:, None])
    assert np.abs(labels.numpy() - expected_labels).max() < 2e-3
    per_batch = len(np.unique(own[:64].round(3))) == 1
    declared = building.parse(variant).library.ops[type(op)]
    assert declared == ("per batch" if per_batch else "per sample")


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


@every_variant
def test_ops_are_carried_out_in_the_policys_order(variant: str) -> None:
    supported(variant, LONG)
    with build(variant, made(smooth_image()[None].repeat(64, axis=0)), LONG) as pipeline:
        output = pixels(next(iter(pipeline.epoch(0)))[0])[0]
    coloured = plain.jitter(
        smooth_image().astype(float), brightness=1.2, contrast=0.8, saturation=1.3, hue=0.0
    )
    expected = plain.warp(coloured, degrees=0, right=0, down=0, scale=1.25)
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


def test_compiled_kornia_does_its_ops_as_the_plain_way_does() -> None:
    ops = (
        ColorJitter(brightness=(0.8, 0.8), contrast=(1.2, 1.2), saturation=(0.7, 0.7)),
        Affine(degrees=0, translate=0, scale=(1.25, 1.25)),
    )
    coloured = plain.jitter(
        smooth_image().astype(float), brightness=0.8, contrast=1.2, saturation=0.7, hue=0.0
    )
    expected = plain.warp(coloured, degrees=0, right=0, down=0, scale=1.25)
    images = made(smooth_image()[None].repeat(64, axis=0))
    with build("kornia[compiled]", images, ops) as pipeline:
        (x, _) = next(iter(pipeline.epoch(0)))
    assert np.abs(pixels(x) - expected).max() < TOLERANCE
