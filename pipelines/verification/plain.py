"""Plain, slow ways to do the ops whose parameters are no whole numbers, one image at a time."""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import RandomErasing, RandomResizedCrop

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


def read(image: Image, row: float, column: float) -> NDArray[np.float64]:
    """Between four pixels; outside is black."""
    height, width = image.shape[:2]
    total = np.zeros(image.shape[2])
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                total += image[r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def warp(image: Image, *, degrees: float, right: float, down: float, scale: float) -> Image:
    """Turned counter-clockwise and enlarged about the centre, then moved by pixels."""
    height, width = image.shape[:2]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    angle = math.radians(degrees)
    out = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            # Rows grow downwards, so up is minus; the way back turns clockwise and shrinks.
            x, up = column - middle_column - right, -(row - middle_row - down)
            back_x = (math.cos(angle) * x + math.sin(angle) * up) / scale
            back_up = (-math.sin(angle) * x + math.cos(angle) * up) / scale
            out[row, column] = read(image, middle_row - back_up, middle_column + back_x)
    return out


def cut_and_resize(image: Image, top: int, left: int, high: int, wide: int) -> Image:
    """A rectangle stretched to the image's size, bilinear between its own pixel centres."""
    height, width = image.shape[:2]
    part = image[top : top + high, left : left + wide]
    out = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            r = min(max((row + 0.5) * high / height - 0.5, 0), high - 1)
            c = min(max((column + 0.5) * wide / width - 0.5, 0), wide - 1)
            out[row, column] = read(part, r, c)
    return out


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
