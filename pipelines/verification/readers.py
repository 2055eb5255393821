"""Readers determine from a pipeline's output the parameters it drew for each sample.

A reader supplies suitable images. It returns parameters as whole numbers (ranges are binned), and
the pixels' error against the reference with the same parameters.
"""

import colorsys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from pipelines.verification import made_images, outcomes, reference
from pipelines.verification.reference import Explainer, parameters
from pipelines.verification.trial import Delivered, require

Ints = NDArray[np.int64]
EXACT = 0.1  # tolerance (0..255) of ops that only move pixels
CLOSE = 0.5  # of other ops; libraries' grey weights have three or four digits
LABEL_TOLERANCE = 2e-3  # between shares of labels and shares of images
BINS = 16
FLIPS = (HorizontalFlip, VerticalFlip)
WHOLE = 2e-4  # shares of images this near to 0 or 1 are whole
SIMULATED = 20_000
PINNED = 512  # images, if nothing is drawn
COMPARED = 64  # outputs compared with a slow reference
# Two colours, left and right; factors of 0.8 to 1.2 take neither to 0 or 255.
COLOUR_PAIR = np.array([[170.0, 140.0, 110.0], [90.0, 60.0, 70.0]])
WARP = ("degrees", "right", "down", "scale")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How to read off the parameters of one policy.

    Args:
        images: Input images.
        read: Returns the parameters (N, K) and the largest pixel error (0..255).
        names: Names of the K parameters.
        expected: Per parameter, the probability of each value 0, 1, ... (float), or its count in
            draws of a reference (int).
        tolerance: Largest allowed error.
        independent: Whether the parameters are drawn independently of each other.
    """

    images: Images
    read: Callable[[Delivered], tuple[Ints, float]]
    names: tuple[str, ...] = ()
    expected: tuple[NDArray[np.int64] | NDArray[np.float64], ...] = ()
    tolerance: float = EXACT
    independent: bool = False


@cache
def reader_for(ops: tuple[Op, ...]) -> Reader:
    """The reader for a policy of `checks.POLICIES`."""
    if {type(op) for op in ops} <= {Crop, HorizontalFlip, VerticalFlip, Cutout}:
        return moves(ops)
    (op,) = ops
    if isinstance(op, AUTOMATIC):
        return automatic(op)
    match op:
        case AlternatingFlip():
            return moves((HorizontalFlip(p=0.5),))
        case RandomErasing():
            return erasing(op)
        case ColorJitter():
            return jitter(op)
        case Affine():
            return warp(op)
        case Rotation():
            return warp(op.affine, fixed=(1, 2, 3))
        case Grayscale():
            return by_chance(op, reference.grey(made_images.noise_image().astype(float)))
        case Solarize():
            image = made_images.noise_image().astype(float)
            return by_chance(op, reference.solarize(image, op.threshold))
        case GaussianBlur():
            return blur(op)
        case RandomResizedCrop():
            return resized_crop(op)
        case MixUp():
            return mix_up(op)
        case CutMix():
            return cut_mix(op)
        case RandomChoice():
            return mix_choice(op)
    raise NotImplementedError(type(op).__name__)


def moves(ops: tuple[Op, ...]) -> Reader:
    """Crop, flip, cutout: found by trying all parameters."""
    image = made_images.noise_image().astype(np.float64)
    explainer = Explainer(ops, image, made_images.mean_255())

    def read(found: Delivered) -> tuple[Ints, float]:
        drawn, error = explainer.explain(found.pixels)
        return drawn, float(error.max())

    names, chances = [], []
    for op in ops:
        possible = np.array(list(parameters(op, made_images.SIZE, made_images.SIZE)))
        for part in range(possible.shape[1]):
            names.append(f"{type(op).__name__} {('down', 'right')[part]}")
            count = len(np.unique(possible[:, part]))
            even = np.full(count, 1 / count)
            chances.append(np.array([1 - op.p, op.p]) if isinstance(op, FLIPS) else even)
    # A flip carries less information than an offset, so more samples are needed.
    flips_only = all(isinstance(op, FLIPS) for op in ops)
    count = 2 * made_images.COUNT if flips_only else made_images.COUNT
    return Reader(
        images=made_images.copies(count),
        read=read,
        names=tuple(names),
        expected=tuple(chances),
        independent=True,
    )


def erasing(op: RandomErasing) -> Reader:
    """Rectangles of the mean on a bright image."""

    def read(found: Delivered) -> tuple[Ints, float]:
        to_mean = np.abs(found.pixels - made_images.mean_255()).max(axis=3)
        to_image = np.abs(found.pixels - 250).max(axis=3)
        drawn, erased = boxes(to_mean < to_image)
        return drawn, float(np.where(erased, to_mean, to_image).max())

    rng = np.random.default_rng(0)
    drawn = [
        reference.draw_erasing(op, made_images.SIZE, rng) or (0, 0, 0, 0) for _ in range(SIMULATED)
    ]
    bright = np.full((made_images.SIZE, made_images.SIZE, 3), 250, dtype=np.uint8)
    return rectangles(np.array(drawn), made_images.copies(made_images.COUNT, bright), read, EXACT)


def jitter(op: ColorJitter) -> Reader:
    """Factors from two colours; if all are fixed, every pixel of a smooth image."""
    ranges = {name: getattr(op, name) for name in ("brightness", "contrast", "saturation", "hue")}
    if all(low == high for low, high in ranges.values()):
        pinned = {name: low for name, (low, _) in ranges.items()}
        expected = reference.jitter(made_images.smooth_image().astype(float), **pinned)

        def compare(found: Delivered) -> tuple[Ints, float]:
            no_parameters = np.empty((len(found.pixels), 0), dtype=np.int64)
            return no_parameters, float(np.abs(found.pixels - expected).max())

        images = made_images.copies(PINNED, made_images.smooth_image())
        return Reader(images=images, read=compare, tolerance=CLOSE)

    def read(found: Delivered) -> tuple[Ints, float]:
        factors = jitter_factors(found.pixels)
        made = np.stack([jittered_halves(each) for each in factors[:COMPARED]])
        error = float(np.abs(made - found.pixels[:COMPARED]).max())
        return binned(factors, tuple(ranges.values())), error

    # Half as many images as for other ops, as libraries are slow here.
    return Reader(
        images=made_images.copies(made_images.COUNT // 2, colour_halves()),
        read=read,
        names=tuple(ranges),
        expected=(even_bins(),) * 4,
        tolerance=CLOSE,
        independent=True,
    )


def warp(op: Affine, fixed: Sequence[int] = ()) -> Reader:
    """Angle, moves and scale, from two ramps that show where pixels come from.

    Args:
        fixed: The last parameters, if they change nothing.
    """
    size, move = made_images.SIZE, op.translate * made_images.SIZE
    middle = (size - 1) / 2
    image = made_images.ramp_image().astype(float)
    rows, columns = np.mgrid[5 : size - 5, 5 : size - 5] - middle
    fit = np.linalg.pinv(np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)], axis=1))

    def read(found: Delivered) -> tuple[Ints, float]:
        inner = found.pixels[:, 5 : size - 5, 5 : size - 5, :2].reshape(len(found.pixels), -1, 2)
        source = (inner.astype(float) - 60) / 8 - middle
        matrix = (fit @ source).transpose(0, 2, 1)  # (N, to x or y, of x, y, 1)
        a, d = matrix[:, 0, 0] + matrix[:, 1, 1], matrix[:, 1, 0] - matrix[:, 0, 1]
        moves = -np.linalg.solve(matrix[:, :, :2], matrix[:, :, 2:])[..., 0]
        degrees, scale = np.degrees(np.arctan2(d, a)), 2 / np.hypot(a, d)
        drawn = np.stack([degrees, moves[:, 0], moves[:, 1], scale], axis=1)
        drawn[:, fixed] = (0.0, 0.0, 1.0) if fixed else ()
        made = [
            reference.warp(image, **dict(zip(WARP, each, strict=True))) for each in drawn[:COMPARED]
        ]
        error = float(np.abs(np.stack(made) - found.pixels[:COMPARED]).max())
        ranges = (-op.degrees, op.degrees), (-move, move), (-move, move), op.scale
        free = len(WARP) - len(fixed)
        return binned(drawn[:, :free], ranges[:free]), error

    names = WARP[: len(WARP) - len(fixed)]
    return Reader(
        images=made_images.copies(made_images.COUNT, made_images.ramp_image()),
        read=read,
        names=names,
        expected=(even_bins(),) * len(names),
        tolerance=CLOSE,
        independent=True,
    )


def by_chance(op: Grayscale | Solarize, changed: NDArray[np.float64]) -> Reader:
    """Whether noise is unchanged or `changed`."""
    both = np.stack([made_images.noise_image().astype(float), changed])

    def read(found: Delivered) -> tuple[Ints, float]:
        off = np.stack([np.abs(found.pixels - each).max(axis=(1, 2, 3)) for each in both])
        return off.argmin(axis=0)[:, None], float(off.min(axis=0).max())

    return Reader(
        images=made_images.copies(2 * made_images.COUNT),
        read=read,
        names=("whether",),
        expected=(np.array([1 - op.p, op.p]),),
        tolerance=CLOSE,
    )


def blur(op: GaussianBlur) -> Reader:
    """The deviation, from what is left of a bright pixel in red."""
    image, middle = made_images.noise_image().copy(), made_images.SIZE // 2
    image[..., 0] = 0
    image[middle, middle, 0] = 255
    sigmas = np.linspace(op.sigma[1], op.sigma[0], 1000)
    steps = np.arange(op.kernel) - op.kernel // 2
    weights = np.exp(-0.5 * (steps / sigmas[:, None]) ** 2)
    left = 255 / weights.sum(axis=1) ** 2  # ascends, as the deviations fall

    def read(found: Delivered) -> tuple[Ints, float]:
        drawn = np.interp(found.pixels[:, middle, middle, 0], left, sigmas)
        made = [reference.blur(image.astype(float), op.kernel, each) for each in drawn[:COMPARED]]
        error = float(np.abs(np.stack(made) - found.pixels[:COMPARED]).max())
        return binned(drawn[:, None], (op.sigma,)), error

    return Reader(
        images=made_images.copies(made_images.COUNT, image),
        read=read,
        names=("sigma",),
        expected=(even_bins(),),
        tolerance=CLOSE,
    )


def resized_crop(op: RandomResizedCrop) -> Reader:
    """The rectangle that was resized, from two ramps."""
    size = made_images.SIZE
    image = made_images.ramp_image().astype(float)
    middle = slice(size // 2 - 2, size // 2 + 2)
    at = np.arange(size)[middle] + 0.5

    @cache
    def resized(top: int, left: int, high: int, wide: int) -> NDArray[np.float64]:
        return reference.cut_and_resize(image, top, left, high, wide)

    def read(found: Delivered) -> tuple[Ints, float]:
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
    made = np.array([reference.draw_resized_crop(op, size, rng) for _ in range(SIMULATED)])
    return rectangles(
        made, made_images.copies(made_images.COUNT, made_images.ramp_image()), read, CLOSE
    )


def mix_up(op: MixUp) -> Reader:
    """The weight of each image, which must equal its label's."""
    images = made_images.numbered(made_images.COUNT)
    rng = np.random.default_rng(0)
    shares = np.minimum(rng.beta(op.alpha, op.alpha, SIMULATED) * BINS, BINS - 1).astype(int)

    def read(found: Delivered) -> tuple[Ints, float]:
        own, other, number = mixed_pair(images, found)
        gap = own - other
        share = ((found.pixels - other) * gap).sum(axis=(1, 2, 3)) / (gap**2).sum(axis=(1, 2, 3))
        check_labels(images, found, number, share)
        mixed = other + share[:, None, None, None] * gap
        drawn = (share * BINS).clip(0, BINS - 1).astype(np.int64)
        return drawn[:, None], float(np.abs(found.pixels - mixed).max())

    expected = np.bincount(shares, minlength=BINS)
    return Reader(images=images, read=read, names=("weight",), expected=(expected,))


def cut_mix(op: CutMix) -> Reader:
    """The pasted rectangle, whose area must match the labels."""
    images = made_images.numbered(made_images.COUNT)
    rng = np.random.default_rng(0)
    top, left, high, wide = reference.draw_cut_mix(op, made_images.SIZE, rng, SIMULATED)
    pasted = high * wide > 0
    columns = [top * pasted, left * pasted, high * pasted, wide * pasted]

    def read(found: Delivered) -> tuple[Ints, float]:
        own, other, number = mixed_pair(images, found)
        to_own = np.abs(found.pixels - own).max(axis=3)
        to_other = np.abs(found.pixels - other).max(axis=3)
        drawn, box = boxes(to_other < to_own)
        check_labels(images, found, number, 1.0 - box.mean(axis=(1, 2)))
        return drawn, float(np.where(box, to_other, to_own).max())

    return Reader(
        images=images,
        read=read,
        names=("top", "left", "height", "width"),
        expected=tuple(np.bincount(each, minlength=made_images.SIZE + 1) for each in columns),
    )


def mix_choice(op: RandomChoice) -> Reader:
    """Which mix it was, and the share of the image or the pasted rectangle."""
    images = made_images.numbered(made_images.COUNT)
    rng = np.random.default_rng(0)
    blends = (rng.random(SIMULATED) < op.p).astype(int)
    share = rng.beta(op.mix_up.alpha, op.mix_up.alpha, SIMULATED)
    sides = reference.draw_cut_mix(op.cut_mix, made_images.SIZE, rng, SIMULATED)[2:]
    sides = tuple((1 - blends) * each * (sides[0] * sides[1] > 0) for each in sides)

    def read(found: Delivered) -> tuple[Ints, float]:
        own, other, number = mixed_pair(images, found)
        gap = own - other
        share_NHW = ((found.pixels - other) * gap).sum(axis=3) / (gap**2).sum(axis=3)
        share = share_NHW.mean(axis=(1, 2))
        _, box = boxes(share_NHW < 0.5)
        blended = np.abs(share_NHW - ~box).max(axis=(1, 2)) > WHOLE
        check_labels(images, found, number, share)
        used = np.where(blended[:, None, None], share[:, None, None], ~box)
        off = np.abs(found.pixels - other - used[..., None] * gap).max()
        rectangle, _ = boxes(box & ~blended[:, None, None])
        weight = np.where(blended, 1 + (share * BINS).clip(0, BINS - 1).astype(int), 0)
        return np.stack([blended, weight, rectangle[:, 2], rectangle[:, 3]], axis=1), float(off)

    weights = blends * (1 + np.minimum(share * BINS, BINS - 1).astype(int))
    return Reader(
        images=images,
        read=read,
        names=("choice", "weight", "height", "width"),
        expected=(
            np.array([1 - op.p, op.p]),
            np.bincount(weights, minlength=BINS + 1),
            *(np.bincount(each, minlength=made_images.SIZE + 1) for each in sides),
        ),
    )


def mixed_pair(
    images: Images, found: Delivered
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Each sample's image, its predecessor in the batch, and the predecessor's index."""
    other = np.roll(found.order.reshape(-1, found.batch_size), 1, axis=1).ravel()
    source = images.images.numpy()
    return source[found.order].astype(float), source[other].astype(float), other


def check_labels(
    images: Images, found: Delivered, number: NDArray[np.int64], share: NDArray[np.float64]
) -> None:
    """Raises `BrokenPromise` unless labels are mixed as the images are."""
    one_hot = np.eye(len(images.classes))[images.labels.numpy()]
    expected = one_hot[found.order] * share[:, None] + one_hot[number] * (1 - share[:, None])
    off = float(np.abs(found.labels - expected).max())
    require(
        off < LABEL_TOLERANCE, f"labels are not mixed as images are: a share is off by {off:.3f}"
    )


def automatic(op: Op) -> Reader:
    """Automatic policies: found among all results of torchvision's functions on an image."""
    known = outcomes.counted(op)

    def read(found: Delivered) -> tuple[Ints, float]:
        nearest = [known.nearest(pixels) for pixels in found.pixels]
        places = np.array([place for place, _ in nearest])
        drawn = np.stack([column[places] for column in known.columns], axis=1)
        return drawn, max(error for _, error in nearest)

    # Half as many images as for other ops, as libraries are slow here.
    return Reader(
        images=made_images.copies(made_images.COUNT // 2, outcomes.photo()),
        read=read,
        names=("op", "sign or magnitude"),
        expected=known.chances,
    )


def rectangles(
    made: Ints, images: Images, read: Callable[[Delivered], tuple[Ints, float]], tolerance: float
) -> Reader:
    """A reader of rectangles (top, left, height, width) placed uniformly where they fit.

    Args:
        made: Rectangles drawn by the reference.
        read: Returns the rectangles and the largest pixel error.
    """

    def places(found: Delivered) -> tuple[Ints, float]:
        drawn, error = read(found)
        # Random numbers spread discrete positions over 0..1, so that all are comparable.
        rng = np.random.default_rng(zlib.crc32(drawn.tobytes()))
        room = made_images.SIZE + 1 - drawn[:, 2:]
        alike = found.batch_size if found.shared else 1
        spread = rng.random((len(room) // alike, 2)).repeat(alike, axis=0)
        share = (drawn[:, :2] + spread) / np.where(drawn[:, 2:] > 0, room, 1)
        return np.concatenate([binned(share, ((0, 1), (0, 1))), drawn[:, 2:]], axis=1), error

    sides = [np.bincount(column, minlength=made_images.SIZE + 1) for column in made[:, 2:].T]
    return Reader(
        images=images,
        read=places,
        names=("place down", "place right", "height", "width"),
        expected=(even_bins(), even_bins(), *sides),
        tolerance=tolerance,
    )


def even_bins() -> NDArray[np.float64]:
    """Probabilities of a range's bins, and of values outside it."""
    return np.append(np.full(BINS, 1 / BINS), 0.0)


def binned(values: NDArray[np.float64], ranges: tuple[tuple[float, float], ...]) -> Ints:
    """Values (N, K) to bins of their ranges; `BINS` for values outside."""
    low, high = np.array(ranges).T
    share = (values - low) / (high - low)
    inside = (share > -0.01) & (share < 1.01)  # tolerance of the reading
    bins = (share * BINS).clip(0, BINS - 1).astype(np.int64)
    found: Ints = np.where(inside, bins, BINS)
    return found


def colour_halves() -> NDArray[np.uint8]:
    """An image with the two colours."""
    image = np.empty((made_images.SIZE, made_images.SIZE, 3), dtype=np.uint8)
    image[:, : made_images.SIZE // 2], image[:, made_images.SIZE // 2 :] = COLOUR_PAIR
    return image


def left_is_brighter(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the left half is brighter, per output (N, H, W, C); no jitter swaps them."""
    half = pixels.shape[2] // 2
    found: NDArray[np.bool_] = pixels[:, :, :half].sum((1, 2, 3)) > pixels[:, :, half:].sum(
        (1, 2, 3)
    )
    return found


def jitter_factors(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Brightness, contrast, saturation and hue (N, 4) of outputs (N, H, W, C).

    A change of hue keeps a colour's largest and smallest channel. Their distance is scaled by all
    three factors. That gives the greys, whose sum is scaled by brightness and whose difference is
    scaled by brightness and contrast.
    """
    half = pixels.shape[2] // 2
    colour = np.stack(
        [part.mean(axis=(1, 2)) for part in (pixels[:, :, :half], pixels[:, :, half:])]
    )
    colour = colour.astype(float)  # (2, N, C)
    high, low = colour.max(axis=2), colour.min(axis=2)
    top, grey = COLOUR_PAIR.max(axis=1), COLOUR_PAIR @ reference.GREY
    together = (high[0] - low[0]) / (top[0] - COLOUR_PAIR[0].min())
    greys = high - together * (top - grey)[:, None]
    brightness = (greys[0] + greys[1]) / grey.sum()
    contrasted = (greys[0] - greys[1]) / (grey[0] - grey[1])
    before = colorsys.rgb_to_hsv(*COLOUR_PAIR[0])[0]
    after = np.array([colorsys.rgb_to_hsv(*each)[0] for each in colour[0].tolist()])
    turned = (after - before + 0.5) % 1.0 - 0.5
    return np.stack([brightness, contrasted / brightness, together / contrasted, turned], axis=1)


def jittered_halves(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two-colour image after the reference jitter with these factors."""
    names = "brightness", "contrast", "saturation", "hue"
    pair = reference.jitter(COLOUR_PAIR[None], **dict(zip(names, factor.tolist(), strict=True)))
    return pair.repeat(made_images.SIZE, axis=0).repeat(made_images.SIZE // 2, axis=1)


def boxes(mask_NHW: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Top, left, height and width of each mask (0 if empty), and the filled boxes."""
    found, filled = [], np.ones_like(mask_NHW)
    for axis in (2, 1):
        line: NDArray[np.bool_] = np.any(mask_NHW, axis=axis)
        start, length = line.argmax(axis=1), line.sum(axis=1)
        found.append((start, length))
        at = np.arange(line.shape[1])
        inside = (at >= start[:, None]) & (at < (start + length)[:, None])
        filled &= np.expand_dims(inside, axis)
    (top, high), (left, wide) = found
    return np.stack([top, left, high, wide], axis=1), filled
