"""Plain, slow, obviously correct ops, and a search for an output's parameters.

Pipelines don't reveal their draws. So a search finds the parameters, if any, that give an output's
pixels. On images of noise they are unique.
"""

import colorsys
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import (
    Crop,
    CutMix,
    Cutout,
    HorizontalFlip,
    Op,
    RandomErasing,
    RandomResizedCrop,
    VerticalFlip,
)

Image = NDArray[np.float64]  # (H, W, C) in 0..255
GREY = np.array([0.2989, 0.587, 0.114])


def jitter(
    image: Image, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Image:
    """Brightness, contrast, saturation, hue, clamped after each."""
    image = np.clip(image * brightness, 0, 255)
    mean = (image @ GREY).mean()
    image = np.clip(mean + contrast * (image - mean), 0, 255)
    grey = (image @ GREY)[..., None]
    image = np.clip(grey + saturation * (image - grey), 0, 255)
    turned = np.empty_like(image)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            h, s, v = colorsys.rgb_to_hsv(*(image[row, column] / 255))
            turned[row, column] = np.array(colorsys.hsv_to_rgb((h + hue) % 1.0, s, v)) * 255
    return turned


def interpolate(
    image: Image, row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bilinear interpolation at float rows and columns (H, W); black outside."""
    height, width = image.shape[:2]
    total = np.zeros((*row.shape, image.shape[2]))
    for r in (np.floor(row), np.floor(row) + 1):
        for c in (np.floor(column), np.floor(column) + 1):
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            weight = np.where(inside, (1 - abs(row - r)) * (1 - abs(column - c)), 0)
            at = r.clip(0, height - 1).astype(int), c.clip(0, width - 1).astype(int)
            total += image[at] * weight[..., None]
    return total


def warp(image: Image, *, degrees: float, right: float, down: float, scale: float) -> Image:
    """Rotates counter-clockwise and scales about the centre, then moves by pixels."""
    height, width = image.shape[:2]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    angle = math.radians(degrees)
    row, column = np.mgrid[0:height, 0:width].astype(float)
    # Rows grow downwards, so up is negative; the inverse rotates clockwise and shrinks.
    x, up = column - middle_column - right, -(row - middle_row - down)
    back_x = (math.cos(angle) * x + math.sin(angle) * up) / scale
    back_up = (-math.sin(angle) * x + math.cos(angle) * up) / scale
    return interpolate(image, middle_row - back_up, middle_column + back_x)


def cut_and_resize(image: Image, top: int, left: int, high: int, wide: int) -> Image:
    """Resizes a rectangle to the image's size, bilinear between its own pixel centres."""
    height, width = image.shape[:2]
    part = image[top : top + high, left : left + wide]
    row, column = np.mgrid[0:height, 0:width].astype(float)
    r = ((row + 0.5) * high / height - 0.5).clip(0, high - 1)
    c = ((column + 0.5) * wide / width - 0.5).clip(0, wide - 1)
    return interpolate(part, r, c)


def grey(image: Image) -> Image:
    """The luminance in every channel."""
    luminance: Image = (image @ GREY)[..., None].repeat(image.shape[2], axis=2)
    return luminance


def solarize(image: Image, threshold: float) -> Image:
    """Inverts values at or above a threshold in 0..1."""
    inverted: Image = np.where(image >= 255 * threshold, 255 - image, image)
    return inverted


def blur(image: Image, kernel: int, sigma: float) -> Image:
    """Blurs with a normalised Gaussian kernel, reflecting at the edges."""
    height, width = image.shape[:2]
    half = kernel // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
    total: Image = np.zeros_like(image)
    weights = 0.0
    for down, right in np.ndindex(kernel, kernel):
        weight = math.exp(-((down - half) ** 2 + (right - half) ** 2) / (2 * sigma**2))
        total += weight * padded[down : down + height, right : right + width]
        weights += weight
    total /= weights
    return total


def draw_resized_crop(
    op: RandomResizedCrop, size: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) in a square image, drawn as torchvision documents it."""
    for _ in range(10):
        area = rng.uniform(*op.scale) * size * size
        ratio = math.exp(rng.uniform(math.log(op.ratio[0]), math.log(op.ratio[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= size and 0 < high <= size:
            top = int(rng.integers(0, size - high + 1))
            return top, int(rng.integers(0, size - wide + 1)), high, wide
    return 0, 0, size, size


def draw_erasing(
    op: RandomErasing, size: int, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """(top, left, height, width), or None if nothing is erased."""
    if rng.random() >= op.p:
        return None
    for _ in range(10):
        area = rng.uniform(*op.scale) * size * size
        ratio = math.exp(rng.uniform(math.log(op.ratio[0]), math.log(op.ratio[1])))
        high, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if high < size and wide < size:
            top = int(rng.integers(0, size - high + 1))
            return top, int(rng.integers(0, size - wide + 1)), high, wide
    return None


def draw_cut_mix(
    op: CutMix, size: int, rng: np.random.Generator, count: int
) -> tuple[NDArray[np.int64], ...]:
    """(top, left, height, width) of the pasted rectangles, each (count,); 0 where there is none."""
    half = np.floor(0.5 * size * np.sqrt(1 - rng.beta(op.alpha, op.alpha, count)))
    starts, lengths = [], []
    for centre in rng.integers(0, size, (2, count)):
        start, end = (centre - half).clip(0), (centre + half).clip(max=size)
        starts.append(np.where(half > 0, start, 0).astype(np.int64))
        lengths.append((end - start).astype(np.int64))
    return *starts, *lengths


Parameters = tuple[int, ...]


def crop(op: Crop, image: Image, mean: Image, down: int, right: int) -> Image:
    """Pads, then cuts out the original size at (down, right), each 0..2*pad."""
    height, width = image.shape[:2]
    sides = ((op.pad, op.pad), (op.pad, op.pad), (0, 0))
    if op.padding == "reflect":
        padded = np.pad(image, sides, mode="reflect")
    else:
        padded = np.pad(image, sides, mode="constant")
    return padded[down : down + height, right : right + width]


def flip(op: HorizontalFlip, image: Image, mean: Image, flipped: int) -> Image:
    """Mirrors the image if `flipped`."""
    return image[:, ::-1] if flipped else image


def vertical_flip(op: VerticalFlip, image: Image, mean: Image, flipped: int) -> Image:
    """Turns the image upside down if `flipped`."""
    return image[::-1] if flipped else image


def cutout(op: Cutout, image: Image, mean: Image, top: int, left: int) -> Image:
    """Sets a square to the mean."""
    covered = image.copy()
    covered[top : top + op.size, left : left + op.size] = mean
    return covered


def parameters(op: Op, height: int, width: int) -> Iterator[Parameters]:
    """All possible parameters of an op."""
    if isinstance(op, Crop):
        yield from np.ndindex(2 * op.pad + 1, 2 * op.pad + 1)
    elif isinstance(op, HorizontalFlip | VerticalFlip):
        yield from ((0,), (1,))
    elif isinstance(op, Cutout):
        yield from np.ndindex(height - op.size + 1, width - op.size + 1)
    else:
        raise NotImplementedError(type(op).__name__)


# For each op with few parameters: (the op, an image, the mean, *parameters) to an image.
APPLY: dict[type[Op], Callable[..., Image]] = {
    Crop: crop,
    HorizontalFlip: flip,
    VerticalFlip: vertical_flip,
    Cutout: cutout,
}


class Explainer:
    """Finds the parameters that produced outputs from one image.

    Args:
        ops: Ops with few combinations of parameters.
        image: The input image.
        mean: Mean of each channel, in 0..255.
    """

    def __init__(self, ops: tuple[Op, ...], image: Image, mean: Image) -> None:
        candidates: list[tuple[Parameters, Image]] = [((), image)]
        for op in ops:
            candidates = [
                ((*known, *drawn), APPLY[type(op)](op, made, mean, *drawn))
                for known, made in candidates
                for drawn in parameters(op, *image.shape[:2])
            ]
        self._drawn = np.array([drawn for drawn, _ in candidates]).reshape(len(candidates), -1)
        self._made = np.stack([made.ravel() for _, made in candidates]).astype(np.float32)

    def explain(
        self, outputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The parameters (N, K) nearest to outputs (N, H, W, C), and their worst errors (N,)."""
        flat = outputs.reshape(len(outputs), -1)
        best = ((self._made**2).sum(axis=1) - 2.0 * flat @ self._made.T).argmin(axis=1)
        return self._drawn[best].astype(np.int64), np.abs(self._made[best] - flat).max(axis=1)
