"""Small generated images, from which it can be told what a pipeline did to them."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.sources.base import Images

MEAN = (0.48, 0.44, 0.40)
STD = (0.25, 0.24, 0.26)
SIZE = 16  # pixels; small, so that the search for parameters is fast
CLASSES = tuple("abcdefghij")
COUNT = 4096  # samples in the checks of an op's draws
FIRST, COLOURS = 64, 128  # levels that number images: 64..191, far from black and the mean


def made(images: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> Images:
    """A set of images uint8 (N, H, W, 3) with this module's statistics."""
    labels = np.arange(len(images)) % len(CLASSES) if labels is None else labels
    return Images(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
    )


@cache
def noise_image() -> NDArray[np.uint8]:
    """An image whose shifts, mirror images and covered versions all differ."""
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@cache
def smooth_image() -> NDArray[np.uint8]:
    """An image of slow waves, different in each channel, without symmetry."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = [np.sin(3 * x + 2 * y + 1), np.cos(2 * x - 4 * y), np.sin(4 * y - x + 2)]
    image: NDArray[np.uint8] = (128 + 80 * np.stack(waves, axis=2)).round().astype(np.uint8)
    return image


def copies(count: int, image: NDArray[np.uint8] | None = None) -> Images:
    """`count` copies of an image, by default of noise."""
    image = noise_image() if image is None else image
    return made(image[None].repeat(count, axis=0))


@cache
def ramp_image() -> NDArray[np.uint8]:
    """Red encodes the column and green the row, in steps of 8 from 60 on; blue has slow waves."""
    image = smooth_image().copy()
    image[..., 0] = 60 + 8 * np.arange(SIZE)
    image[..., 1] = 60 + 8 * np.arange(SIZE)[:, None]
    return image


def numbered(count: int, size: int = SIZE) -> Images:
    """Images of one colour each, which encodes their number."""
    index = np.arange(count)
    colours = [index % COLOURS + FIRST, index // COLOURS + FIRST, np.full(count, 200)]
    images = np.broadcast_to(np.stack(colours, axis=1)[:, None, None], (count, size, size, 3))
    labels = np.random.default_rng(1).integers(0, len(CLASSES), count)
    return made(np.ascontiguousarray(images, dtype=np.uint8), labels)


def noise_images(count: int) -> Images:
    """Different images of noise."""
    rng = np.random.default_rng(2)
    return made(rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8))


def numbers_of(x_BCHW: Tensor) -> NDArray[np.int64]:
    """The numbers of `numbered` images; the median pixel survives cutout and zero padding."""
    median_BC = np.median(pixels(x_BCHW).reshape(len(x_BCHW), -1, 3), axis=1).round()
    number = median_BC[:, 0] - FIRST + COLOURS * (median_BC[:, 1] - FIRST)
    return number.astype(np.int64)


def pixels(x_BCHW: Tensor) -> NDArray[np.float32]:
    """Normalised (B, C, H, W) back to (B, H, W, C) in 0..255."""
    x_BHWC = x_BCHW.float().cpu().permute(0, 2, 3, 1).numpy()
    std, mean = np.array(STD, dtype=np.float32), np.array(MEAN, dtype=np.float32)
    back: NDArray[np.float32] = (x_BHWC * std + mean) * 255
    return back


def mean_255() -> NDArray[np.float64]:
    """The mean in 0..255."""
    return np.array(MEAN) * 255
