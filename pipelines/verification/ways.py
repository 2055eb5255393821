"""How to read off, from what a pipeline delivers, which parameters an op drew for each sample.

A way puts in images made so that the output tells. It gives the parameters as whole numbers, ranges
cut into bins, and by how much pixels differ from the plain way with the same parameters.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import (
    AUTOMATIC,
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
from pipelines.verification import colours, mixtures, outcomes, plain, world
from pipelines.verification.boxes import boxes
from pipelines.verification.reference import Explainer, parameters
from pipelines.verification.trial import Delivered
from pipelines.verification.way import (
    BINS,
    CLOSE,
    EXACT,
    Way,
    Whole,
    binned,
    even_bins,
    none_drawn,
    rectangles,
)

SIMULATED = 20_000
PINNED = 512  # images, where nothing is drawn
PLAINLY = 64  # outputs that are compared with plain ways that are slow


@cache  # of use to every pipeline that is tried
def way_of(ops: tuple[Op, ...]) -> Way:
    """The way of a policy that is tried."""
    if {type(op) for op in ops} <= {Crop, HorizontalFlip, Cutout}:
        return moving(ops)
    (op,) = ops
    if isinstance(op, AUTOMATIC):
        return choosing(op)
    match op:
        case AlternatingFlip():
            return moving((HorizontalFlip(p=0.5),))
        case RandomErasing():
            return erasing(op)
        case ColorJitter():
            return jittering(op)
        case Affine():
            return warping(op)
        case RandomResizedCrop():
            return resizing(op)
        case MixUp() | CutMix():
            return mixing(op)
    raise NotImplementedError(type(op).__name__)


def moving(ops: tuple[Op, ...]) -> Way:
    """Crop, flip, cutout: all parameters are tried."""
    image = world.noise_image().astype(np.float64)
    explainer = Explainer(ops, image, world.mean_255())

    def read(found: Delivered) -> tuple[Whole, float]:
        drawn, error = explainer.explain(found.pixels)
        return drawn, float(error.max())

    names, chances = [], []
    for op in ops:
        possible = np.array(list(parameters(op, world.SIZE, world.SIZE)))
        for part in range(possible.shape[1]):
            names.append(f"{type(op).__name__} {('down', 'right')[part]}")
            count = len(np.unique(possible[:, part]))
            even = np.full(count, 1 / count)
            chances.append(np.array([1 - op.p, op.p]) if isinstance(op, HorizontalFlip) else even)
    # A coin tells less than an offset: more of them make up for it.
    count = 2 * world.COUNT if {type(op) for op in ops} == {HorizontalFlip} else world.COUNT
    return Way(
        images=world.alike(count),
        read=read,
        names=tuple(names),
        expected=tuple(chances),
        apart=True,
    )


def erasing(op: RandomErasing) -> Way:
    """Rectangles of the mean on a bright image."""

    def read(found: Delivered) -> tuple[Whole, float]:
        to_mean = np.abs(found.pixels - world.mean_255()).max(axis=3)
        to_image = np.abs(found.pixels - 250).max(axis=3)
        drawn, erased = boxes(to_mean < to_image)
        return drawn, float(np.where(erased, to_mean, to_image).max())

    rng = np.random.default_rng(0)
    drawn = [plain.draw_erasing(op, world.SIZE, rng) or (0, 0, 0, 0) for _ in range(SIMULATED)]
    bright = np.full((world.SIZE, world.SIZE, 3), 250, dtype=np.uint8)
    return rectangles(np.array(drawn), world.alike(world.COUNT, bright), read, EXACT)


def jittering(op: ColorJitter) -> Way:
    """Factors from two colours, or, where all are pinned, every pixel of a smooth image."""
    ranges = {name: getattr(op, name) for name in ("brightness", "contrast", "saturation", "hue")}
    if all(low == high for low, high in ranges.values()):
        pinned = {name: low for name, (low, _) in ranges.items()}
        expected = plain.jitter(world.smooth_image().astype(float), **pinned)

        def compare(found: Delivered) -> tuple[Whole, float]:
            return none_drawn(found), float(np.abs(found.pixels - expected).max())

        images = world.alike(PINNED, world.smooth_image())
        return Way(images=images, read=compare, tolerance=CLOSE)

    def read(found: Delivered) -> tuple[Whole, float]:
        factors = colours.factors(found.pixels)
        made = np.stack([colours.plainly(each) for each in factors[:PLAINLY]])
        error = float(np.abs(made - found.pixels[:PLAINLY]).max())
        return binned(factors, tuple(ranges.values())), error

    return Way(
        images=world.alike(world.COUNT // 2, colours.halves()),  # libraries take long for each
        read=read,
        names=tuple(ranges),
        expected=(even_bins(),) * 4,
        tolerance=CLOSE,
        apart=True,
    )


def warping(op: Affine) -> Way:
    """Where pixels come from, by two ramps; from that angle, moves and scale."""
    size, move = world.SIZE, op.translate * world.SIZE
    middle = (size - 1) / 2
    image = world.ramp_image().astype(float)
    rows, columns = np.mgrid[5 : size - 5, 5 : size - 5] - middle
    fit = np.linalg.pinv(np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)], axis=1))

    def read(found: Delivered) -> tuple[Whole, float]:
        inner = found.pixels[:, 5 : size - 5, 5 : size - 5, :2].reshape(len(found.pixels), -1, 2)
        source = (inner.astype(float) - 60) / 8 - middle
        matrix = (fit @ source).transpose(0, 2, 1)  # (N, to x or y, of x, y, 1)
        a, d = matrix[:, 0, 0] + matrix[:, 1, 1], matrix[:, 1, 0] - matrix[:, 0, 1]
        moves = -np.linalg.solve(matrix[:, :, :2], matrix[:, :, 2:])[..., 0]
        degrees, scale = np.degrees(np.arctan2(d, a)), 2 / np.hypot(a, d)
        drawn = np.stack([degrees, moves[:, 0], moves[:, 1], scale], axis=1)
        names = "degrees", "right", "down", "scale"
        made = [
            plain.warp(image, **dict(zip(names, each, strict=True))) for each in drawn[:PLAINLY]
        ]
        error = float(np.abs(np.stack(made) - found.pixels[:PLAINLY]).max())
        turn = -op.degrees, op.degrees
        return binned(drawn, (turn, (-move, move), (-move, move), op.scale)), error

    return Way(
        images=world.alike(world.COUNT, world.ramp_image()),
        read=read,
        names=("degrees", "right", "down", "scale"),
        expected=(even_bins(),) * 4,
        tolerance=CLOSE,
        apart=True,
    )


def resizing(op: RandomResizedCrop) -> Way:
    """Which rectangle was stretched, by two ramps."""
    size = world.SIZE
    image = world.ramp_image().astype(float)
    middle = slice(size // 2 - 2, size // 2 + 2)
    at = np.arange(size)[middle] + 0.5

    @cache
    def resized(top: int, left: int, high: int, wide: int) -> NDArray[np.float64]:
        return plain.cut_and_resize(image, top, left, high, wide)

    def read(found: Delivered) -> tuple[Whole, float]:
        ends = []
        for channel, axis in ((1, 2), (0, 1)):
            ramp = (found.pixels[..., channel].mean(axis=axis).astype(float) - 60) / 8 + 0.5
            slope, start = np.polyfit(at, ramp[:, middle].T, 1)
            length = (slope * size).round().clip(1, size)
            ends += [(start + 0 * length).round().clip(0, size - length), length]
        drawn = np.stack([ends[each] for each in (0, 2, 1, 3)], axis=1).astype(np.int64)
        unique, where = np.unique(drawn, axis=0, return_inverse=True)
        made = np.stack([resized(*each) for each in unique.tolist()])
        error = float(np.abs(made[where.ravel()] - found.pixels).max())
        return drawn, error

    rng = np.random.default_rng(0)
    made = np.array([plain.draw_crop(op, size, rng) for _ in range(SIMULATED)])
    return rectangles(made, world.alike(world.COUNT, world.ramp_image()), read, CLOSE)


def mixing(op: MixUp | CutMix) -> Way:
    """Shares of two images and of their labels."""
    images = world.numbered(world.COUNT)
    rng = np.random.default_rng(0)
    if isinstance(op, CutMix):
        top, left, high, wide = plain.draw_cut_mix(op, world.SIZE, rng, SIMULATED)
        pasted = high * wide > 0
        made = [top * pasted, left * pasted, high * pasted, wide * pasted]
        return Way(
            images=images,
            read=lambda found: mixtures.pasted(images, found),
            names=("top", "left", "height", "width"),
            expected=tuple(np.bincount(column, minlength=world.SIZE + 1) for column in made),
        )
    shares = np.minimum(rng.beta(op.alpha, op.alpha, SIMULATED) * BINS, BINS - 1).astype(int)
    return Way(
        images=images,
        read=lambda found: mixtures.blended(images, found, BINS),
        names=("weight",),
        expected=(np.bincount(shares, minlength=BINS),),
    )


def choosing(op: Op) -> Way:
    """Automatic policies: all that torchvision's own functions can make of a photo."""
    known = outcomes.counted(op)

    def read(found: Delivered) -> tuple[Whole, float]:
        nearest = [known.nearest(pixels) for pixels in found.pixels]
        places = np.array([place for place, _ in nearest])
        drawn = np.stack([column[places] for column in known.columns], axis=1)
        return drawn, max(error for _, error in nearest)

    return Way(
        images=world.alike(world.COUNT // 2, outcomes.photo()),  # libraries take long for each
        read=read,
        names=("op", "sign or magnitude"),
        expected=known.chances,
    )


__all__ = ["way_of"]
