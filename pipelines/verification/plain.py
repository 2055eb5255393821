"""Plain, slow ways to do the ops whose parameters are no whole numbers, one image at a time."""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import CutMix, RandomErasing, RandomResizedCrop

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


def read(
    image: Image, row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Between four pixels, at rows and columns (H, W); outside is black."""
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
    """Turned counter-clockwise and enlarged about the centre, then moved by pixels."""
    height, width = image.shape[:2]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    angle = math.radians(degrees)
    row, column = np.mgrid[0:height, 0:width].astype(float)
    # Rows grow downwards, so up is minus; the way back turns clockwise and shrinks.
    x, up = column - middle_column - right, -(row - middle_row - down)
    back_x = (math.cos(angle) * x + math.sin(angle) * up) / scale
    back_up = (-math.sin(angle) * x + math.cos(angle) * up) / scale
    return read(image, middle_row - back_up, middle_column + back_x)


def cut_and_resize(image: Image, top: int, left: int, high: int, wide: int) -> Image:
    """A rectangle stretched to the image's size, bilinear between its own pixel centres."""
    height, width = image.shape[:2]
    part = image[top : top + high, left : left + wide]
    row, column = np.mgrid[0:height, 0:width].astype(float)
    r = ((row + 0.5) * high / height - 0.5).clip(0, high - 1)
    c = ((column + 0.5) * wide / width - 0.5).clip(0, wide - 1)
    return read(part, r, c)


def draw_crop(
    op: RandomResizedCrop, size: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, high, wide) of a square image, drawn as torchvision documents it."""
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
    """(top, left, high, wide), or None where nothing is erased."""
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
    """(top, left, high, wide) of what is pasted, each (count,); 0 where nothing is."""
    half = np.floor(0.5 * size * np.sqrt(1 - rng.beta(op.alpha, op.alpha, count)))
    starts, lengths = [], []
    for centre in rng.integers(0, size, (2, count)):
        start, end = (centre - half).clip(0), (centre + half).clip(max=size)
        starts.append(np.where(half > 0, start, 0).astype(np.int64))
        lengths.append((end - start).astype(np.int64))
    return *starts, *lengths
