"""Albumentations' transforms on NumPy images, one by one in the workers of a DataLoader."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.base import Library, OwnOp, Request
from pipelines.decoding import read
from pipelines.libraries import missing, require
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Op,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
    VerticalFlip,
    implementation_of,
)
from pipelines.options import LOADER_OPTIONS
from pipelines.sources.base import Images
from pipelines.workers import LoaderPipeline, shared_bytes

NAME = "albumentations"
KEEP_8_BITS = (Crop, HorizontalFlip, VerticalFlip, AlternatingFlip, Solarize)


def build(request: Request) -> LoaderPipeline:
    """The transforms in workers."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask PyPI
    require(NAME, NAME)
    semantics = ALBUMENTATIONS.semantics(request.augmentation, request.mode)
    transforms = Transforms(request.augmentation.ops, request.images)
    return LoaderPipeline(request, semantics, transforms, read=read_by_opencv)


def read_by_opencv(path: Path, size: int) -> Tensor:
    """A file decoded by OpenCV, and resized as by the reference, since OpenCV's filters differ."""
    return torch.from_numpy(np.array(read(path, size, decode_with_opencv), order="C"))


def decode_with_opencv(data: bytearray) -> Tensor:
    """Decodes a JPEG file to uint8 (C, H, W)."""
    cv2: Any = import_module("cv2")
    try:
        image_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise RuntimeError(str(error)) from error
    if image_HWC is None:
        raise RuntimeError("OpenCV cannot decode it")
    return torch.from_numpy(image_HWC).permute(2, 0, 1)


class Transforms:
    """The transforms of a policy, built in the worker that uses them."""

    def __init__(self, ops: Sequence[Op], images: Images) -> None:
        self._ops, self._mean, self._std = ops, images.mean, images.std
        self._size = images.image_size

    @cached_property
    def _built(self) -> tuple[Any, list[Any]]:
        """The whole policy, and its steps for alternating flips."""
        library: Any = import_module(NAME)
        setup = Setup(mean=self._mean, size=self._size)
        steps, alternating, largest = [], [], 255.0
        for op in self._ops:
            if largest == 255.0 and not isinstance(op, KEEP_8_BITS):
                largest = 1.0
                steps.append(library.ToFloat(max_value=255.0, p=1.0))
            steps.append(implementation_of(op, OPS, NAME)(library, op, setup))
            if isinstance(op, AlternatingFlip):
                alternating.append(steps[-1])
        steps.append(library.Normalize(self._mean, self._std, max_pixel_value=largest, p=1.0))
        return library.Compose(steps), alternating

    def __call__(self, images: Iterator[Tensor], flipped: Sequence[bool], seed: int) -> Tensor:
        compose, alternating = self._built
        # Not by `set_random_seed`, which gives each transform the same numbers.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        done = []
        with single_thread():
            for image_HWC, mirrored in zip(images, flipped, strict=True):
                for step in alternating:
                    step.p = float(mirrored)
                done.append(compose(image=image_HWC.numpy())["image"])
        return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)


@contextmanager
def single_thread() -> Iterator[None]:
    """Keeps OpenCV from starting threads in each worker."""
    cv2: Any = import_module("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What transforms need to know about the images.

    Args:
        mean: Mean of each channel, in [0, 1].
        size: (height, width).
    """

    mean: tuple[float, ...]
    size: tuple[int, int]


def crop(library: Any, op: Crop, setup: Setup) -> Any:
    """Pads, then slices at an integer offset."""
    cv2: Any = import_module("cv2")
    border = cv2.BORDER_REFLECT_101 if op.padding == "reflect" else cv2.BORDER_CONSTANT
    pad = library.Pad(padding=op.pad, border_mode=border, fill=0, p=1.0)
    return library.Sequential([pad, library.RandomCrop(*setup.size, p=1.0)], p=1.0)


def cutout(library: Any, op: Cutout, setup: Setup) -> Any:
    """One hole of a fixed size."""
    side = op.size, op.size
    return library.CoarseDropout(
        num_holes_range=(1, 1),
        hole_height_range=side,
        hole_width_range=side,
        fill=setup.mean,
        p=1.0,
    )


def random_erasing(library: Any, op: RandomErasing, setup: Setup) -> Any:
    """Albumentations' own; its ratio is width to height."""
    low, high = op.ratio
    return library.Erasing(scale=op.scale, ratio=(1 / high, 1 / low), fill=setup.mean, p=op.p)


def color_jitter(library: Any, op: ColorJitter, setup: Setup) -> Any:
    """One jitter per part, to fix their order."""
    neutral = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    jitters = [
        library.ColorJitter(**{**neutral, name: getattr(op, name)}, p=1.0)
        for name in neutral
        if getattr(op, name) != neutral[name]
    ]
    return library.Sequential(jitters or [library.NoOp()], p=1.0)


def affine(library: Any, op: Affine, setup: Setup) -> Any:
    """Albumentations' warp, but with moves that are not cut to whole pixels."""

    class Warp(library.Affine):  # type: ignore[misc]
        def _get_translate_params(self, shape: tuple[int, int]) -> dict[str, float]:
            right, down = (self.py_random.uniform(-op.translate, op.translate) for _ in range(2))
            return {"x": right * shape[1], "y": down * shape[0]}

    return Warp(
        rotate=(-op.degrees, op.degrees), scale=op.scale, keep_ratio=True, border_mode=0, p=1.0
    )


def random_resized_crop(library: Any, op: RandomResizedCrop, setup: Setup) -> Any:
    """Albumentations' own, which draws as torchvision's."""
    return library.RandomResizedCrop(setup.size, scale=op.scale, ratio=op.ratio, p=1.0)


def grayscale(library: Any, op: Grayscale, setup: Setup) -> Any:
    """The luminance; images of one channel have nothing else."""
    channels = len(setup.mean)
    if channels == 1:
        return library.NoOp()
    return library.ToGray(num_output_channels=channels, method="weighted_average", p=op.p)


def solarize(library: Any, op: Solarize, setup: Setup) -> Any:
    """A fixed threshold."""
    return library.Solarize(threshold_range=(op.threshold, op.threshold), p=op.p)


def gaussian_blur(library: Any, op: GaussianBlur, setup: Setup) -> Any:
    """A kernel of a fixed size."""
    sizes = op.kernel, op.kernel
    return library.GaussianBlur(blur_limit=sizes, sigma_limit=op.sigma, p=1.0)


# For each op: (the module `albumentations`, the op, the setup) to a transform. Albumentations has
# no RandAugment, TrivialAugment, AutoAugment, MixUp and CutMix.
OPS: dict[type[Op], Callable[[Any, Any, Setup], Any]] = {
    Crop: crop,
    HorizontalFlip: lambda library, op, setup: library.HorizontalFlip(p=op.p),
    VerticalFlip: lambda library, op, setup: library.VerticalFlip(p=op.p),
    AlternatingFlip: lambda library, op, setup: library.HorizontalFlip(),
    Cutout: cutout,
    ColorJitter: color_jitter,
    Affine: affine,
    Rotation: lambda library, op, setup: affine(library, op.affine, setup),
    Grayscale: grayscale,
    Solarize: solarize,
    GaussianBlur: gaussian_blur,
    RandomResizedCrop: random_resized_crop,
    RandomErasing: random_erasing,
}
OWN_OPS: dict[type[Op], OwnOp] = {
    RandomErasing: OwnOp(
        differs="aspect ratio uniform, not log-uniform, without areas that some ratio cannot have"
    )
}


def problem(mode: str, device: str) -> str:
    """Why it can't run; "" if it can."""
    return missing(NAME, ALBUMENTATIONS.install)


ALBUMENTATIONS = Library(
    name="albumentations",
    why=(
        "OpenCV decodes and transforms, per sample in DataLoader workers; the last MIT release. "
        "albumentations[own] also does RandomErasing by Albumentations' definition, which differs "
        "from ours."
    ),
    build=build,
    ops=dict.fromkeys([op for op in OPS if op not in OWN_OPS], "per sample"),
    own=OWN_OPS,
    plugin_ops="albumentations",
    modes=("equal", "own"),
    options=LOADER_OPTIONS,
    problem=problem,
    decodes=True,
    shared_bytes=shared_bytes,
    install="albumentations==2.0.8",  # the last under the MIT licence
    reference="https://github.com/albumentations-team/albumentations",
)
