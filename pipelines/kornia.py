"""Kornia's augmentations on device batches, one after the other: its containers do not compile."""

from collections.abc import Callable, Iterator, Sequence

import kornia.augmentation as K
import torch
from kornia.geometry.transform import hflip
from torch import Tensor, nn

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.compiling import compiled, compiler_problem
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
from pipelines.randomness import OwnStream
from pipelines.sources.base import Images

EAGER, COMPILED = "eager", "compiled"


class KorniaPipeline(Pipeline):
    """Gathers a batch of uint8 on the device, scales it to [0, 1], and lets Kornia do the rest.

    Kornia takes floats only, is quickest on contiguous images and loses channels_last, so a batch
    is made contiguous before and brought to the run's memory format afterwards.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request, KORNIA.semantics(request.augmentation))
        self._images_NHWC = request.images.images.to(request.device)
        self._labels_N = request.images.labels.to(request.device)
        self._modules = modules(request.augmentation.ops, request.images).to(request.device)
        self._augment = self._compiled() if request.mode == COMPILED else self._carry_out

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        stream = OwnStream(derive_seed(request.seed, "draws", index), request.device)
        flipped_N = flipped(request, index).to(request.device)
        for index_B in self.permutation(index).to(request.device):
            with stream.drawing():
                x_BCHW = self._augment(self._images_NHWC[index_B], flipped_N[index_B])
            yield x_BCHW, self._labels_N[index_B]

    def _carry_out(self, images_BHWC: Tensor, flipped_B: Tensor) -> Tensor:
        x_BCHW = images_BHWC.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255.0
        for module in self._modules:
            if isinstance(module, Alternating):
                x_BCHW = module(x_BCHW, flipped_B)
            else:
                x_BCHW = module(x_BCHW)
        x_BCHW = x_BCHW.to(self.request.dtype)
        return x_BCHW.contiguous(memory_format=self.request.memory_format)

    def _compiled(self) -> Callable[[Tensor, Tensor], Tensor]:
        def augment(images_BHWC: Tensor, flipped_B: Tensor) -> Tensor:
            return self._carry_out(images_BHWC, flipped_B)

        return compiled(augment)


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


def crop(op: Crop, images: Images) -> nn.Module:
    """Slices at integer offsets after padding."""
    module: nn.Module = K.RandomCrop(
        images.image_size,
        padding=op.pad,
        padding_mode="reflect" if op.padding == "reflect" else "constant",
        cropping_mode="slice",
    )
    return module


def horizontal_flip(op: HorizontalFlip, images: Images) -> nn.Module:
    """Mirrors each sample by a coin of its own."""
    module: nn.Module = K.RandomHorizontalFlip(p=op.p)
    return module


def cutout(op: Cutout, images: Images) -> nn.Module:
    """Random erasing with area and aspect ratio fixed, which leaves only its place to chance."""
    height, width = images.image_size
    area = op.size**2 / (height * width)
    erasing = K.RandomErasing(scale=(area, area), ratio=(1.0, 1.0), value=0.0, p=1.0)
    return ToMean(erasing, images.mean)


def color_jitter(op: ColorJitter, images: Images) -> nn.Module:
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


def affine(op: Affine, images: Images) -> nn.Module:
    """One bilinear warp."""
    module: nn.Module = K.RandomAffine(
        degrees=(-op.degrees, op.degrees),
        translate=(op.translate, op.translate),
        scale=op.scale,
        p=1.0,
    )
    return module


def random_resized_crop(op: RandomResizedCrop, images: Images) -> nn.Module:
    """Slices, then resizes between pixel centres."""
    module: nn.Module = K.RandomResizedCrop(
        images.image_size, scale=op.scale, ratio=op.ratio, align_corners=False
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
    AlternatingFlip: lambda op, images: Alternating(),
    Cutout: cutout,
    ColorJitter: color_jitter,
    Affine: affine,
    RandomResizedCrop: random_resized_crop,
}


def modules(ops: Sequence[Op], images: Images) -> nn.ModuleList:
    """The policy and the normalisation, for images (B, C, H, W) float in [0, 1]."""
    normalise = K.Normalize(mean=torch.tensor(images.mean), std=torch.tensor(images.std), p=1.0)
    return nn.ModuleList([*(WAYS[type(op)](op, images) for op in ops), normalise])


def problem(mode: str, device: str) -> str:
    """Why a mode cannot run on a device type."""
    lacking = compiler_problem(gpu=device == "cuda") if mode == COMPILED else ""
    return f"kornia[compiled] needs torch.compile ({lacking}); kornia does not" if lacking else ""


KORNIA = Library(
    name="kornia",
    why="A well-known library of augmentations on device batches, drawn for each sample.",
    build=KorniaPipeline,
    ops=dict.fromkeys(WAYS, "per sample"),
    modes=(EAGER, COMPILED),
    problem=problem,
    reference="https://github.com/kornia/kornia",
)
