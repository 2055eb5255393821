"""Pixels against the plain ways, and how parameters are drawn, op by op."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    HorizontalFlip,
    Op,
    RandomErasing,
    RandomResizedCrop,
)
from pipelines.verification import plain, statistics, world
from pipelines.verification.reference import Explainer, parameters
from pipelines.verification.trial import BATCH, Trial, require

SAMPLES = 4096
EXACT = 0.1  # of 255: for ops that only move pixels
CLOSE = 1.0  # of 255: for ops that compute; libraries weigh grey with three or four digits


def check_values(trial: Trial, *, per_batch: bool) -> float | None:
    """Pixels against the plain way, and draws; the worst pixel's error.

    Raises:
        Wrong: A pixel is off, or draws are not as declared.
    """
    kinds = {type(op) for op in trial.ops}
    if kinds <= {Crop, HorizontalFlip, Cutout}:
        return check_moves(trial)
    (kind,) = kinds
    ways: dict[type[Op], Callable[[Trial], float]] = {
        AlternatingFlip: check_alternating,
        RandomErasing: check_erasing,
        ColorJitter: check_jitter,
        Affine: check_warp,
        RandomResizedCrop: check_resized,
    }
    if kind in ways:
        return ways[kind](trial)
    return check_mixing(trial, per_batch=per_batch)


def check_moves(trial: Trial) -> float:
    """Crop, flip, cutout: every output is explained, parameters are even and independent."""
    image = world.noise_image().astype(np.float64)
    explainer = Explainer(trial.ops, image, world.mean_255())
    explained = explainer.explain(trial.outputs(world.alike(SAMPLES)))
    error = max(each.error for each in explained)
    require(error < EXACT, f"a pixel is off by {error:.1f} of 255")
    drawn = np.array([each.drawn for each in explained], dtype=np.int64).reshape(SAMPLES, -1)
    for column, possible in enumerate(possibilities(trial.ops)):
        values = drawn[:, column]
        require(statistics.even(values, possible), f"parameter {column} is not drawn evenly")
        require(
            statistics.independent(values[:-1], values[1:]),
            f"parameter {column} of one sample tells that of the next",
        )
    return error


def possibilities(ops: tuple[Op, ...]) -> Iterator[NDArray[np.int64]]:
    """The values of each parameter of each op."""
    for op in ops:
        for part in np.array(list(parameters(op, world.SIZE, world.SIZE))).T:
            yield np.unique(part)


def check_alternating(trial: Trial) -> float:
    """Each image is mirrored in one of two epochs, and in the first by a coin."""
    images = world.alike(1024)
    image = images.images[0].numpy().astype(float)
    mirrored = []
    worst = 0.0
    with trial.build(images) as pipeline:
        for index in (0, 1):
            found = np.concatenate([world.pixels(x) for x, _ in pipeline.epoch(index)])
            plainly = np.abs(found - image).max(axis=(1, 2, 3))
            flipped = np.abs(found - image[:, ::-1]).max(axis=(1, 2, 3))
            worst = max(worst, float(np.minimum(plainly, flipped).max()))
            order = pipeline.permutation(index).flatten().numpy()
            mirrored.append(np.zeros(1024, dtype=np.int64))
            mirrored[-1][order] = flipped < plainly
    require(worst < EXACT, f"a pixel is off by {worst:.1f} of 255")
    require(bool((mirrored[0] + mirrored[1] == 1).all()), "two epochs do not show both sides")
    require(statistics.even(mirrored[0], np.arange(2)), "the first side is not a fair coin's")
    return worst


def check_erasing(trial: Trial) -> float:
    """A rectangle of the mean, of a size in range, another for each sample."""
    image = np.full((world.SIZE, world.SIZE, 3), 250, dtype=np.uint8)
    found = trial.outputs(world.alike(BATCH, image))
    erased = np.abs(found - world.mean_255()).max(axis=3) < EXACT
    kept = np.abs(found - 250).max(axis=3) < EXACT
    require(bool((erased | kept).all()), "a pixel is neither the image's nor the mean")
    rectangles = set()
    for mask in erased:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        require(len(rows) > 0, "nothing is erased")
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        require(bool(mask[box].all()), "what is erased is no rectangle")
        rectangles.add((rows[0], rows[-1], columns[0], columns[-1]))
    require(len(rectangles) > BATCH // 4, "rectangles are not drawn for each sample")
    return 0.0


def check_jitter(trial: Trial) -> float:
    """Pinned factors against the plain way."""
    expected = plain.jitter(
        world.smooth_image().astype(float), brightness=0.8, contrast=1.2, saturation=0.7, hue=0.1
    )
    return check_same(trial, expected)


def check_warp(trial: Trial) -> float:
    """A pinned enlargement against the plain way."""
    image = world.smooth_image().astype(float)
    return check_same(trial, plain.warp(image, degrees=0, right=0, down=0, scale=1.25))


def check_same(trial: Trial, expected: NDArray[np.float64]) -> float:
    """Whether all outputs of the smooth image are `expected`."""
    found = trial.outputs(world.alike(BATCH, world.smooth_image()))
    error = float(np.abs(found - expected).max())
    require(error < CLOSE, f"a pixel is off by {error:.1f} of 255")
    return error


def check_resized(trial: Trial) -> float:
    """Every output is a stretched rectangle; most samples have one of their own."""
    (op,) = trial.ops
    assert isinstance(op, RandomResizedCrop)
    rng = np.random.default_rng(0)
    sizes = sorted({plain.draw_crop(op, world.SIZE, rng)[2:] for _ in range(20_000)})
    image = world.smooth_image().astype(float)
    made = [
        plain.cut_and_resize(image, top, left, high, wide).ravel()
        for high, wide in sizes
        for top in range(world.SIZE - high + 1)
        for left in range(world.SIZE - wide + 1)
    ]
    wanted = np.stack(made)
    flat = trial.outputs(world.alike(BATCH, world.smooth_image())).reshape(BATCH, -1).astype(float)
    best = ((wanted**2).sum(axis=1)[None] - 2 * flat @ wanted.T).argmin(axis=1)
    error = float(np.abs(wanted[best] - flat).max())
    require(error < CLOSE, f"a pixel is off by {error:.1f} of 255")
    require(len(np.unique(best)) > BATCH // 4, "rectangles are not drawn for each sample")
    return error


def check_mixing(trial: Trial, *, per_batch: bool) -> float:
    """Images and labels are mixed with the next of the batch, in the same shares."""
    images = world.numbered(BATCH)
    with trial.build(images, batch_size=128) as pipeline:
        batches = list(pipeline.epoch(0))
        order = pipeline.permutation(0).numpy()
    source = images.images.numpy().astype(float)
    own, other = source[order.ravel()], source[np.roll(order, 1, axis=1).ravel()]
    found = np.concatenate([world.pixels(x) for x, _ in batches])
    labels = torch.cat([y for _, y in batches]).cpu().numpy()
    gap = own - other
    share = ((found - other) * gap).sum(axis=(1, 2, 3)) / (gap**2).sum(axis=(1, 2, 3))
    one_hot = np.eye(len(images.classes))[images.labels.numpy()]
    expected = one_hot[order.ravel()] * share[:, None]
    expected += one_hot[np.roll(order, 1, axis=1).ravel()] * (1 - share[:, None])
    require(float(np.abs(labels - expected).max()) < 0.01, "labels are not mixed as images are")
    alone = len(np.unique(share[:128].round(3))) > 32
    require(alone != per_batch, "shares are not drawn as declared")
    if isinstance(trial.ops[0], CutMix):
        return float(np.minimum(np.abs(found - own), np.abs(found - other)).max())
    mixed = other + share[:, None, None, None] * gap
    return float(np.abs(found - mixed).max())
