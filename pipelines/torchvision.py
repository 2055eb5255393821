"""torchvision's transforms, one image at a time in the workers of a DataLoader."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.base import Draws, Library, Request
from pipelines.libraries import missing, require
from pipelines.ops import (
    MIXING,
    Affine,
    AlternatingFlip,
    AutoAugment,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    MixUp,
    Op,
    RandAugment,
    RandomChoice,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
    TrivialAugment,
    VerticalFlip,
    implementation_of,
)
from pipelines.options import LOADER_OPTIONS
from pipelines.randomness import RandomStream
from pipelines.sources.base import Images
from pipelines.workers import LoaderPipeline, shared_bytes

V2 = "torchvision.transforms.v2"  # slow to import, so only when a pipeline is built


def build(request: Request) -> LoaderPipeline:
    """The transforms in workers; ops that mix in this process."""
    require("torchvision", V2)
    ops, images = request.augmentation.ops, request.images
    mix = mixing(ops, len(images.classes))
    return LoaderPipeline(
        request, TORCHVISION.semantics(request.augmentation), Transforms(ops, images), mix
    )


class Transforms:
    """The transforms of a policy for the images of a batch, one by one."""

    def __init__(self, ops: Sequence[Op], images: Images) -> None:
        self._arguments = ops, images
        self._transform = transforms(ops, images)
        self._flips = [step for step in self._transform.transforms if isinstance(step, Alternating)]

    def __reduce__(self) -> tuple[Any, ...]:  # built modules may not be picklable
        return Transforms, self._arguments

    def __call__(self, images: Iterator[Tensor], flipped: Sequence[bool], seed: int) -> Tensor:
        with RandomStream(seed, torch.device("cpu")).drawing():
            return torch.stack([self._one(*each) for each in zip(images, flipped, strict=True)])

    def _one(self, image_HWC: Tensor, mirrored: bool) -> Tensor:
        for flip in self._flips:
            flip.flipped = mirrored
        image_CHW: Tensor = self._transform(image_HWC.permute(2, 0, 1))
        return image_CHW


def transforms(ops: Sequence[Op], images: Images) -> Any:
    """The policy and the normalisation, for an image uint8 (C, H, W) or a batch (B, C, H, W).

    Returns:
        A `v2.Compose` without ops that mix (see `mixing`).
    """
    v2 = import_module(V2)
    steps: list[nn.Module] = []
    dtype = torch.uint8
    for op in ops:
        if isinstance(op, MIXING):
            continue
        implementation = implementation_of(op, OPS, "torchvision")
        if implementation.dtype not in (None, dtype):
            dtype = implementation.dtype
            steps.append(v2.ToDtype(dtype, scale=True))
        steps.append(implementation.build(v2, op, images))
    if dtype == torch.uint8:
        steps.append(v2.ToDtype(torch.float32, scale=True))
    return v2.Compose([*steps, v2.Normalize(list(images.mean), list(images.std))])


def mixing(ops: Sequence[Op], classes: int) -> nn.Module | None:
    """torchvision's mix of whole batches; None if the policy has none."""
    if not (ops and isinstance(ops[-1], MIXING)):
        return None
    module: nn.Module = OPS[type(ops[-1])].build(import_module(V2), ops[-1], classes)
    return module


class Alternating(nn.Module):
    """Mirrors an image, or the images of a batch for which `flipped` (B,) is true."""

    flipped: bool | Tensor = False

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.transforms.v2.functional import horizontal_flip

        if isinstance(self.flipped, Tensor):
            return torch.where(self.flipped[:, None, None, None], horizontal_flip(x), x)
        mirrored: Tensor = horizontal_flip(x) if self.flipped else x
        return mirrored


class AffineWarp(nn.Module):
    """torchvision's warp with our own draws, because `RandomAffine` moves by whole pixels only."""

    def __init__(self, op: Affine) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2.functional import affine

        height, width = x.shape[-2:]
        angle, right, down, scale = torch.rand(4).tolist()
        low, high = self.op.scale
        warped: Tensor = affine(
            x,
            angle=self.op.degrees * (2 * angle - 1),
            translate=[
                self.op.translate * width * (2 * right - 1),
                self.op.translate * height * (2 * down - 1),
            ],
            scale=low + (high - low) * scale,
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        return warped


def crop(v2: Any, op: Crop, images: Images) -> Any:
    """Pads, then slices at an integer offset."""
    padding_mode = "reflect" if op.padding == "reflect" else "constant"
    return v2.RandomCrop(images.image_size, padding=op.pad, padding_mode=padding_mode)


def cutout(v2: Any, op: Cutout, images: Images) -> Any:
    """Random erasing with fixed area and aspect ratio, so that only its position is random."""
    height, width = images.image_size
    area = op.size**2 / (height * width)
    return v2.RandomErasing(p=1.0, scale=(area, area), ratio=(1.0, 1.0), value=list(images.mean))


def random_erasing(v2: Any, op: RandomErasing, images: Images) -> Any:
    """torchvision's RandomErasing."""
    return v2.RandomErasing(p=op.p, scale=op.scale, ratio=op.ratio, value=list(images.mean))


def color_jitter(v2: Any, op: ColorJitter, images: Images) -> Any:
    """One jitter per part, to fix their order."""
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    parts = {name: getattr(op, name) for name in neutral}
    jitters = [
        v2.ColorJitter(**{name: factors})
        for name, factors in parts.items()
        if factors != (neutral[name], neutral[name])
    ]
    return v2.Compose(jitters or [v2.Identity()])


def random_resized_crop(v2: Any, op: RandomResizedCrop, images: Images) -> Any:
    """torchvision's RandomResizedCrop; crops are only enlarged, so antialiasing has no effect."""
    return v2.RandomResizedCrop(images.image_size, scale=op.scale, ratio=op.ratio, antialias=False)


def random_choice(v2: Any, op: RandomChoice, classes: int) -> Any:
    """One of the two mixes."""
    mixes = [OPS[type(each)].build(v2, each, classes) for each in (op.mix_up, op.cut_mix)]
    return v2.RandomChoice(mixes, p=[op.p, 1.0 - op.p])


@dataclass(frozen=True, kw_only=True)
class TorchvisionOp:
    """An op in torchvision, for one image or a batch.

    Args:
        build: (`torchvision.transforms.v2`, op, images) to a module; ops that mix get the number of
            classes instead of the images.
        dtype: Required input type; None for any. float32 if results aren't whole numbers, which
            torchvision would round in uint8.
        draws: How `torchvision` draws its parameters; `torchvision_batch` draws once per batch.
    """

    build: Callable[[Any, Any, Any], Any]
    dtype: torch.dtype | None = None
    draws: Draws = "per sample"


FLOAT, UINT8 = torch.float32, torch.uint8
OPS: dict[type[Op], TorchvisionOp] = {
    Crop: TorchvisionOp(build=crop),
    HorizontalFlip: TorchvisionOp(build=lambda v2, op, images: v2.RandomHorizontalFlip(p=op.p)),
    VerticalFlip: TorchvisionOp(build=lambda v2, op, images: v2.RandomVerticalFlip(p=op.p)),
    AlternatingFlip: TorchvisionOp(build=lambda v2, op, images: Alternating()),
    Cutout: TorchvisionOp(build=cutout, dtype=FLOAT),
    RandomErasing: TorchvisionOp(build=random_erasing, dtype=FLOAT),
    ColorJitter: TorchvisionOp(build=color_jitter, dtype=FLOAT),
    Affine: TorchvisionOp(build=lambda v2, op, images: AffineWarp(op), dtype=FLOAT),
    RandomResizedCrop: TorchvisionOp(build=random_resized_crop, dtype=FLOAT),
    Rotation: TorchvisionOp(build=lambda v2, op, images: AffineWarp(op.affine), dtype=FLOAT),
    Grayscale: TorchvisionOp(build=lambda v2, op, images: v2.RandomGrayscale(p=op.p), dtype=FLOAT),
    Solarize: TorchvisionOp(
        build=lambda v2, op, images: v2.RandomSolarize(threshold=op.threshold, p=op.p), dtype=FLOAT
    ),
    GaussianBlur: TorchvisionOp(
        build=lambda v2, op, images: v2.GaussianBlur(op.kernel, op.sigma), dtype=FLOAT
    ),
    # Nearest interpolation and black fill are their defaults.
    RandAugment: TorchvisionOp(
        build=lambda v2, op, images: v2.RandAugment(op.n, op.magnitude, op.bins), dtype=UINT8
    ),
    TrivialAugment: TorchvisionOp(
        build=lambda v2, op, images: v2.TrivialAugmentWide(op.bins), dtype=UINT8
    ),
    AutoAugment: TorchvisionOp(
        build=lambda v2, op, images: v2.AutoAugment(v2.AutoAugmentPolicy(op.policy)), dtype=UINT8
    ),
    MixUp: TorchvisionOp(
        build=lambda v2, op, classes: v2.MixUp(alpha=op.alpha, num_classes=classes),
        draws="per batch",
    ),
    CutMix: TorchvisionOp(
        build=lambda v2, op, classes: v2.CutMix(alpha=op.alpha, num_classes=classes),
        draws="per batch",
    ),
    RandomChoice: TorchvisionOp(build=random_choice, draws="per batch"),
}


TORCHVISION = Library(
    name="torchvision",
    why="The usual baseline: per-sample transforms in DataLoader workers.",
    build=build,
    ops={kind: implementation.draws for kind, implementation in OPS.items()},
    plugin_ops="torchvision",
    options=LOADER_OPTIONS,
    problem=lambda mode, device: missing("torchvision"),
    decodes=True,
    shared_bytes=shared_bytes,
    reference="https://docs.pytorch.org/vision/stable/transforms.html",
)
