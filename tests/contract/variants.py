"""Every variant that is tried, and the small worlds it is tried in."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.ops import Crop, Cutout, HorizontalFlip, Op
from pipelines.sources.base import Images

MEAN = (0.48, 0.44, 0.40)
STD = (0.25, 0.24, 0.26)
SIZE = 16  # pixels; small, so that searching for parameters is quick
OPTIONS = {"torchvision": ("workers=0", "workers=2")}
OPS: dict[str, tuple[Op, ...]] = {
    "crop_reflect": (Crop(pad=4, padding="reflect"),),
    "crop_zero": (Crop(pad=4, padding="zero"),),
    "flip": (HorizontalFlip(p=0.5),),
    "cutout": (Cutout(size=5),),
    "crop_flip": (Crop(pad=2, padding="reflect"), HorizontalFlip(p=0.5)),
    "flip_crop_zero": (HorizontalFlip(p=0.5), Crop(pad=2, padding="zero")),
    "cutout_flip": (Cutout(size=12), HorizontalFlip(p=0.5)),
}


def variants() -> list[str]:
    """The spelling of every mode and option set of every pipeline."""
    found = []
    for library in building.catalog.entries.values():
        for mode in library.modes or ("",):
            for options in OPTIONS.get(library.name, ("",)):
                inside = ",".join(filter(None, (mode, options)))
                found.append(building.canonical_name(f"{library.name}[{inside}]"))
    return found


def made(images: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> Images:
    """A set with this module's statistics."""
    labels = np.arange(len(images)) % 10 if labels is None else labels
    return Images(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        classes=tuple("abcdefghij"),
        mean=MEAN,
        std=STD,
    )


@cache
def noise_image() -> NDArray[np.uint8]:
    """One image whose every shift, mirror and cover can be told apart."""
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@cache
def alike(count: int) -> Images:
    """`count` times the same image."""
    return made(np.broadcast_to(noise_image(), (count, SIZE, SIZE, 3)).copy())


@cache
def numbered(count: int) -> Images:
    """Images of one colour each, no two alike: the colour tells which image it was."""
    index = np.arange(count)
    colours = np.stack([index % 128 + 64, index // 128 + 64, np.full(count, 200)], axis=1)
    images = np.broadcast_to(colours[:, None, None, :], (count, SIZE, SIZE, 3))
    labels = np.random.default_rng(1).integers(0, 10, count)
    return made(images.astype(np.uint8), labels)


def which(x_BCHW: Tensor) -> NDArray[np.int64]:
    """The numbers of `numbered` images; the median pixel survives cutout and zero padding."""
    median_BC = np.median(pixels(x_BCHW).reshape(len(x_BCHW), -1, 3), axis=1).round()
    number: NDArray[np.int64] = (median_BC[:, 0] - 64 + 128 * (median_BC[:, 1] - 64)).astype(int)
    return number


def pixels(x_BCHW: Tensor) -> NDArray[np.float32]:
    """Normalised (B, C, H, W) back to (B, H, W, C) in 0..255."""
    x_BHWC = x_BCHW.float().cpu().permute(0, 2, 3, 1).numpy()
    back: NDArray[np.float32] = (x_BHWC * np.float32(STD) + np.float32(MEAN)) * 255
    return back


def build(variant: str, images: Images, ops: tuple[Op, ...], **options: object) -> Pipeline:
    """A pipeline of a variant over made images."""
    policy = Augmentation(ops=ops)
    return building.build(variant, images, policy, **{"batch_size": 64, **options})  # type: ignore[arg-type]


def mean_255() -> NDArray[np.float64]:
    """The mean in 0..255."""
    return np.array(MEAN) * 255
