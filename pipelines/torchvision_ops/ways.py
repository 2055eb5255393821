"""How torchvision's v2 transforms do each op; the same for one image and for a batch of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from pipelines.ops import (
    AUTOMATIC,
    MIXING,
    Affine,
    AlternatingFlip,
    AutoAugment,
    ColorJitter,
    Crop,
    Cutout,
    HorizontalFlip,
    MixUp,
    Op,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
)
from pipelines.sources.base import Images


def crop(op: Crop, images: Images) -> nn.Module:
    """Pads, then slices at an integer offset."""
    padding_mode = "reflect" if op.padding == "reflect" else "constant"
    module: nn.Module = v2.RandomCrop(images.image_size, padding=op.pad, padding_mode=padding_mode)
    return module


def horizontal_flip(op: HorizontalFlip, images: Images) -> nn.Module:
    """Mirrors by a coin."""
    module: nn.Module = v2.RandomHorizontalFlip(p=op.p)
    return module


def cutout(op: Cutout, images: Images) -> nn.Module:
    """Random erasing with area and aspect ratio fixed, which leaves only its place to chance."""
    height, width = images.image_size
    area = op.size**2 / (height * width)
    module: nn.Module = v2.RandomErasing(
        p=1.0, scale=(area, area), ratio=(1.0, 1.0), value=list(images.mean)
    )
    return module


class Alternating(nn.Module):
    """Mirrors what it was told to: an image, or some of a batch (`flipped` is bool (B,))."""

    flipped: bool | Tensor = False

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.flipped, Tensor):
            return torch.where(self.flipped[:, None, None, None], F.horizontal_flip(x), x)
        return F.horizontal_flip(x) if self.flipped else x


def random_erasing(op: RandomErasing, images: Images) -> nn.Module:
    """torchvision's own."""
    module: nn.Module = v2.RandomErasing(
        p=op.p, scale=op.scale, ratio=op.ratio, value=list(images.mean)
    )
    return module


def color_jitter(op: ColorJitter, images: Images) -> nn.Module:
    """One jitter for each part, so that the order is ours."""
    parts = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    module: nn.Module = v2.Compose(
        [
            v2.ColorJitter(**{part: getattr(op, part)})
            for part, neutral in parts.items()
            if getattr(op, part) != (neutral, neutral)
        ]
        or [v2.Identity()]
    )
    return module


class AffineWarp(nn.Module):
    """torchvision's warp with draws of ours: its own class moves by whole pixels only."""

    def __init__(self, op: Affine) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        angle, right, down, scale = torch.rand(4).tolist()
        low, high = self.op.scale
        warped: Tensor = F.affine(
            x,
            angle=self.op.degrees * (2 * angle - 1),
            translate=[
                self.op.translate * width * (2 * right - 1),
                self.op.translate * height * (2 * down - 1),
            ],
            scale=low + (high - low) * scale,
            shear=[0.0, 0.0],
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        return warped


def random_resized_crop(op: RandomResizedCrop, images: Images) -> nn.Module:
    """torchvision's own; nothing is made smaller, so antialiasing has nothing to do."""
    module: nn.Module = v2.RandomResizedCrop(
        images.image_size, scale=op.scale, ratio=op.ratio, antialias=False
    )
    return module


def mixing(ops: Sequence[Op], classes: int) -> nn.Module | None:
    """torchvision's mix of whole batches; None when the policy has none.

    Raises:
        ValueError: An op that mixes is not the last.
    """
    found = [op for op in ops if isinstance(op, MIXING)]
    if not found:
        return None
    (op, *more) = found
    if more or ops[-1] is not op:
        raise ValueError(f"{type(op).__name__} mixes finished images: it comes last")
    kind = v2.MixUp if isinstance(op, MixUp) else v2.CutMix
    module: nn.Module = kind(alpha=op.alpha, num_classes=classes)
    return module


WAYS: dict[type[Op], Callable[..., nn.Module]] = {
    Crop: crop,
    HorizontalFlip: horizontal_flip,
    AlternatingFlip: lambda op, images: Alternating(),
    Cutout: cutout,
    RandomErasing: random_erasing,
    ColorJitter: color_jitter,
    Affine: lambda op, images: AffineWarp(op),
    RandomResizedCrop: random_resized_crop,
    # Nearest interpolation and black fill are their defaults.
    RandAugment: lambda op, images: v2.RandAugment(op.n, op.magnitude, op.bins),
    TrivialAugment: lambda op, images: v2.TrivialAugmentWide(op.bins),
    AutoAugment: lambda op, images: v2.AutoAugment(v2.AutoAugmentPolicy(op.policy)),
}
# Their results are no whole numbers; torchvision would round them in uint8.
IN_FLOAT = (Cutout, RandomErasing, ColorJitter, Affine, RandomResizedCrop)


def transforms(ops: Sequence[Op], images: Images) -> v2.Compose:
    """The policy and the normalisation, for an image uint8 (C, H, W) or a batch (B, C, H, W).

    Ops that mix are not in it; see `mixing`.
    """
    steps: list[nn.Module] = []
    dtype = torch.uint8
    for op in ops:
        if isinstance(op, MIXING):
            continue
        wanted = torch.uint8 if isinstance(op, AUTOMATIC) else dtype
        wanted = torch.float32 if isinstance(op, IN_FLOAT) else wanted
        if wanted != dtype:
            steps.append(v2.ToDtype(wanted, scale=True))
        steps.append(WAYS[type(op)](op, images))
        dtype = wanted
    if dtype == torch.uint8:
        steps.append(v2.ToDtype(torch.float32, scale=True))
    return v2.Compose([*steps, v2.Normalize(list(images.mean), list(images.std))])
