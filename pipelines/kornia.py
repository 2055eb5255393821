"""Kornia's augmentations on device batches, one by one because its containers don't compile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.compiling import compiled, compiler_problem
from pipelines.decoding import DeviceImages, unfit
from pipelines.kornia_ops import own
from pipelines.libraries import missing, require
from pipelines.ops import (
    MIXING,
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Op,
    RandomResizedCrop,
    Rotation,
    Solarize,
    VerticalFlip,
    implementation_of,
)
from pipelines.options import DEVICE_READER_OPTIONS
from pipelines.randomness import RandomStream

COMPILED = "compiled"
AUGMENTATION = "kornia.augmentation"  # slow to import, so only when a pipeline is built


class KorniaPipeline(Pipeline):
    """Takes a uint8 batch on the device, scales it to [0, 1], and applies Kornia's modules.

    Kornia takes only floats, is fastest on contiguous images and loses channels_last, so batches
    are made contiguous first and converted to the requested memory format afterwards.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request, KORNIA.semantics(request.augmentation, request.mode))
        require("kornia", AUGMENTATION)
        self._images = DeviceImages(request)
        self._labels_N = request.images.labels.to(request.device)
        ops = request.augmentation.ops
        classes = len(request.images.classes)
        self._mix = own.Mix(ops[-1], classes) if ops and isinstance(ops[-1], MIXING) else None
        self._augment = augmenter(
            Setup(
                ops=tuple(op for op in ops if not isinstance(op, MIXING)),
                image_size=request.images.image_size,
                mean=request.images.mean,
                std=request.images.std,
                device=request.device,
                dtype=torch.float32 if self._mix else request.dtype,
                memory_format=request.memory_format,
                compile=request.mode == COMPILED,
            )
        )

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        stream = RandomStream(derive_seed(request.seed, "draws", index), request.device)
        flipped_N = flipped(request, index).to(request.device)
        for index_B, images_BHWC in self._images.batches(self.permutation(index)):
            labels = self._labels_N[index_B]
            with stream.drawing():
                x_BCHW = self._augment(images_BHWC, flipped_N[index_B])
                if self._mix is not None:
                    x_BCHW, labels = self._mix(x_BCHW, labels)
            x_BCHW = x_BCHW.to(request.dtype).contiguous(memory_format=request.memory_format)
            yield x_BCHW, labels

    def close(self) -> None:
        self._images.close()


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The arguments of Kornia's modules; equal setups share modules and compiled code.

    Args:
        image_size: (height, width).
        mean: Mean of each channel, in [0, 1].
        compile: Whether the whole policy becomes one compiled graph.
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
def augmenter(setup: Setup) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of uint8 images (B, H, W, C) and a mask of those to mirror (B,)."""
    steps = draw_on_cpu(modules(setup).to(setup.device))

    def augment(images_BHWC: Tensor, flipped_B: Tensor) -> Tensor:
        x_BCHW = images_BHWC.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255.0
        for step in steps:
            x_BCHW = step(x_BCHW, flipped_B) if isinstance(step, Alternating) else step(x_BCHW)
        return x_BCHW.to(setup.dtype).contiguous(memory_format=setup.memory_format)

    return compiled(augment) if setup.compile else augment


def modules(setup: Setup) -> nn.ModuleList:
    """The policy and the normalisation, for images (B, C, H, W) float in [0, 1]."""
    kornia = import_module(AUGMENTATION)
    # `to` leaves them where they are, and from the host they would be copied for every batch.
    mean, std = (torch.tensor(each, device=setup.device) for each in (setup.mean, setup.std))
    normalise = kornia.Normalize(mean=mean, std=std, p=1.0)
    ops = OPS | own.OPS
    steps = [implementation_of(op, ops, "kornia")(kornia, op, setup) for op in setup.ops]
    return nn.ModuleList([*steps, normalise])


def draw_on_cpu(steps: nn.ModuleList) -> nn.ModuleList:
    """Makes Kornia's modules draw random numbers on the CPU; returns them.

    `to` moves their samplers to the device, but Kornia copies every draw back to the CPU, for which
    the host would wait each time.
    """
    base = import_module(f"{AUGMENTATION}.base")
    for module in steps.modules():
        if isinstance(module, base._BasicAugmentationBase):
            module.set_rng_device_and_dtype(torch.device("cpu"), torch.float32)
    return steps


class Alternating(nn.Module):
    """Mirrors the samples in a mask."""

    def __init__(self) -> None:
        super().__init__()
        self._hflip = import_module("kornia.geometry.transform").hflip

    def forward(self, x_BCHW: Tensor, flipped_B: Tensor) -> Tensor:
        return torch.where(flipped_B[:, None, None, None], self._hflip(x_BCHW), x_BCHW)


class FillWithMean(nn.Module):
    """Shifts images so that a module that fills with zero fills with the dataset's mean."""

    def __init__(self, module: nn.Module, mean: tuple[float, ...]) -> None:
        super().__init__()
        self.module = module
        self.mean_C11: Tensor
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        shifted: Tensor = self.module(x_BCHW - self.mean_C11)
        return shifted + self.mean_C11


def crop(kornia: Any, op: Crop, setup: Setup) -> Any:
    """Slices at integer offsets after padding."""
    return kornia.RandomCrop(
        setup.image_size,
        padding=op.pad,
        padding_mode="reflect" if op.padding == "reflect" else "constant",
        cropping_mode="slice",
    )


def cutout(kornia: Any, op: Cutout, setup: Setup) -> Any:
    """Random erasing with fixed area and aspect ratio, so that only its position is random."""
    height, width = setup.image_size
    area = op.size**2 / (height * width)
    erasing = kornia.RandomErasing(scale=(area, area), ratio=(1.0, 1.0), value=0.0, p=1.0)
    return FillWithMean(erasing, setup.mean)


def color_jitter(kornia: Any, op: ColorJitter, setup: Setup) -> Any:
    """Kornia's Pillow-like jitter, in the order of `ColorJitter`."""
    return kornia.ColorJitter(
        brightness=op.brightness,
        contrast=op.contrast,
        saturation=op.saturation,
        hue=op.hue,
        p=1.0,
        order=(0, 1, 2, 3),
    )


def affine(kornia: Any, op: Affine, setup: Setup) -> Any:
    """One bilinear warp."""
    return kornia.RandomAffine(
        degrees=(-op.degrees, op.degrees),
        translate=(op.translate, op.translate),
        scale=op.scale,
        p=1.0,
    )


def random_resized_crop(kornia: Any, op: RandomResizedCrop, setup: Setup) -> Any:
    """Slices, then resizes without aligned corners."""
    return kornia.RandomResizedCrop(
        setup.image_size, scale=op.scale, ratio=op.ratio, align_corners=False
    )


def solarize(kornia: Any, op: Solarize, setup: Setup) -> Any:
    """A fixed threshold, and nothing added."""
    return kornia.RandomSolarize((op.threshold, op.threshold), (0.0, 0.0), p=op.p)


# For each op: (the module `kornia.augmentation`, the op, the setup) to a module for a batch.
# `kornia_ops.own` has those that Kornia defines differently.
OPS: dict[type[Op], Callable[[Any, Any, Setup], Any]] = {
    Crop: crop,
    HorizontalFlip: lambda kornia, op, setup: kornia.RandomHorizontalFlip(p=op.p),
    VerticalFlip: lambda kornia, op, setup: kornia.RandomVerticalFlip(p=op.p),
    AlternatingFlip: lambda kornia, op, setup: Alternating(),
    Cutout: cutout,
    ColorJitter: color_jitter,
    Affine: affine,
    Rotation: lambda kornia, op, setup: affine(kornia, op.affine, setup),
    Grayscale: lambda kornia, op, setup: kornia.RandomGrayscale(p=op.p),
    Solarize: solarize,
    GaussianBlur: lambda kornia, op, setup: kornia.RandomGaussianBlur(op.kernel, op.sigma, p=1.0),
    RandomResizedCrop: random_resized_crop,
}


def problem(mode: str, device: str) -> str:
    """Why a mode can't run on a device type; "" if it can."""
    if absent := missing("kornia"):
        return absent
    lacking = ""
    if mode == COMPILED:  # Kornia draws on the CPU, so a GPU needs a C++ compiler too
        lacking = compiler_problem(gpu=False)
        if device == "cuda":
            lacking = lacking or compiler_problem(gpu=True)
    return f"kornia[compiled] needs torch.compile ({lacking}); kornia does not" if lacking else ""


KORNIA = Library(
    name="kornia",
    why=(
        "A well-known library of augmentations on device batches, with parameters per sample; "
        "kornia[own] also does RandomErasing, RandAugment, TrivialAugment, AutoAugment, MixUp and "
        "CutMix by Kornia's definitions, which differ from ours."
    ),
    build=KorniaPipeline,
    ops=dict.fromkeys(OPS, "per sample"),
    own=own.OWN_OPS,
    plugin_ops="kornia",
    modes=("eager", "compiled", "own"),
    options=DEVICE_READER_OPTIONS,
    problem=problem,
    decodes=True,
    unfit=unfit,
    reference="https://github.com/kornia/kornia",
)
