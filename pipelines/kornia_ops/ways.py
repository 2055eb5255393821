"""How Kornia does each op, as modules for a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import kornia.augmentation as K
import torch
from kornia.augmentation.base import _BasicAugmentationBase
from kornia.geometry.transform import hflip
from torch import Tensor, nn

from pipelines.compiling import compiled
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    HorizontalFlip,
    Op,
    RandomResizedCrop,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that Kornia's modules depend on; equal recipes share them, and what is compiled.

    Args:
        ops: The policy.
        image_size: (height, width).
        mean: Of each channel, in [0, 1].
        std: Likewise.
        device: Where the modules are.
        dtype: Of the images delivered.
        memory_format: Likewise.
        compile: Whether the whole policy is one compiled graph.
    """

    ops: tuple[Op, ...]
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    compile: bool


@cache
def augmenter(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """From uint8 (B, H, W, C) and what to mirror (B,) to a batch; made once in a process."""
    steps = drawing_on_the_host(modules(recipe).to(recipe.device))

    def augment(images_BHWC: Tensor, flipped_B: Tensor) -> Tensor:
        x_BCHW = images_BHWC.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255.0
        for step in steps:
            x_BCHW = step(x_BCHW, flipped_B) if isinstance(step, Alternating) else step(x_BCHW)
        return x_BCHW.to(recipe.dtype).contiguous(memory_format=recipe.memory_format)

    return compiled(augment) if recipe.compile else augment


def drawing_on_the_host(steps: nn.ModuleList) -> nn.ModuleList:
    """The same, with all that is drawn drawn on the CPU, where Kornia's generators want it.

    `to` moves their samplers to the device; they bring every draw back to the CPU nevertheless,
    and each time the host waits for all that the device has to do.
    """
    for module in steps.modules():
        if isinstance(module, _BasicAugmentationBase):
            module.set_rng_device_and_dtype(torch.device("cpu"), torch.float32)
    return steps


class Alternating(nn.Module):
    """Mirrors the samples that it is told to."""

    def forward(self, x_BCHW: Tensor, flipped_B: Tensor) -> Tensor:
        return torch.where(flipped_B[:, None, None, None], hflip(x_BCHW), x_BCHW)


class ToMean(nn.Module):
    """Lets a fill of zero mean the data's mean: subtracts it around a module.

    Args:
        module: What fills with zero.
        mean: Of each channel, in [0, 1].
    """

    def __init__(self, module: nn.Module, mean: tuple[float, ...]) -> None:
        super().__init__()
        self.module = module
        self.mean_C11: Tensor
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        shifted: Tensor = self.module(x_BCHW - self.mean_C11)
        return shifted + self.mean_C11


def crop(op: Crop, recipe: Recipe) -> nn.Module:
    """Slices at integer offsets after padding."""
    module: nn.Module = K.RandomCrop(
        recipe.image_size,
        padding=op.pad,
        padding_mode="reflect" if op.padding == "reflect" else "constant",
        cropping_mode="slice",
    )
    return module


def horizontal_flip(op: HorizontalFlip, recipe: Recipe) -> nn.Module:
    """Mirrors each sample by a coin of its own."""
    module: nn.Module = K.RandomHorizontalFlip(p=op.p)
    return module


def cutout(op: Cutout, recipe: Recipe) -> nn.Module:
    """Random erasing with area and aspect ratio fixed, which leaves only its place to chance."""
    height, width = recipe.image_size
    area = op.size**2 / (height * width)
    erasing = K.RandomErasing(scale=(area, area), ratio=(1.0, 1.0), value=0.0, p=1.0)
    return ToMean(erasing, recipe.mean)


def color_jitter(op: ColorJitter, recipe: Recipe) -> nn.Module:
    """Kornia's jitter that follows Pillow, in our order."""
    module: nn.Module = K.ColorJitter(
        brightness=op.brightness,
        contrast=op.contrast,
        saturation=op.saturation,
        hue=op.hue,
        p=1.0,
        order=(0, 1, 2, 3),
    )
    return module


def affine(op: Affine, recipe: Recipe) -> nn.Module:
    """One bilinear warp."""
    module: nn.Module = K.RandomAffine(
        degrees=(-op.degrees, op.degrees),
        translate=(op.translate, op.translate),
        scale=op.scale,
        p=1.0,
    )
    return module


def random_resized_crop(op: RandomResizedCrop, recipe: Recipe) -> nn.Module:
    """Slices, then resizes between pixel centres."""
    module: nn.Module = K.RandomResizedCrop(
        recipe.image_size, scale=op.scale, ratio=op.ratio, align_corners=False
    )
    return module


# Kornia has policies of these names, but others than RandAugment, TrivialAugment and AutoAugment
# here: one choice of op for the whole batch, RandAugment without repeats, no identity, an added
# solarize_add (RandAugment), shears multiplied by 180 to degrees (0.3 becomes tan 54 = 1.38),
# moves of at most 0.1 (RandAugment) or 0.5 (TrivialAugment) of the side instead of 150/331 or 32
# pixels, continuous magnitudes within a bin, results that are not rounded to 8 bits.
WAYS: dict[type[Op], Callable[..., nn.Module]] = {
    Crop: crop,
    HorizontalFlip: horizontal_flip,
    AlternatingFlip: lambda op, recipe: Alternating(),
    Cutout: cutout,
    ColorJitter: color_jitter,
    Affine: affine,
    RandomResizedCrop: random_resized_crop,
}


def modules(recipe: Recipe) -> nn.ModuleList:
    """The policy and the normalisation, for images (B, C, H, W) float in [0, 1]."""
    normalise = K.Normalize(mean=torch.tensor(recipe.mean), std=torch.tensor(recipe.std), p=1.0)
    return nn.ModuleList([*(WAYS[type(op)](op, recipe) for op in recipe.ops), normalise])
