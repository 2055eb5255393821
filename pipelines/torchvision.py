"""torchvision's transforms, one image at a time in the workers of a DataLoader."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
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
from pipelines.randomness import OwnStream
from pipelines.sources.base import Images

Key = tuple[int, int, list[int]]  # epoch, batch, samples


class TorchvisionPipeline(Pipeline):
    """The set-up that most training scripts have: workers, pinned memory, one copy a batch."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, TORCHVISION.semantics(request.augmentation))
        workers = request.options["workers"]
        self._mix = mixing(request.augmentation.ops, len(request.images.classes))
        self._keys = Keys(self)
        self._loader: DataLoader[Batch] | None = DataLoader(
            Samples(request),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=request.device.type == "cuda",
            generator=torch.Generator(),  # else its seed comes from the process's own generator
        )

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        if self._loader is None:
            raise RuntimeError("this pipeline was closed")
        self._keys.epoch = index
        stream = OwnStream(derive_seed(request.seed, "mixes", index), torch.device("cpu"))
        batches = iter(self._loader)
        try:
            for x_BCHW, labels in batches:
                x_BCHW = x_BCHW.to(request.device, non_blocking=True)
                labels = labels.to(request.device, non_blocking=True)
                if self._mix is not None:
                    with stream.drawing():
                        x_BCHW, labels = self._mix(x_BCHW, labels)
                yield x_BCHW.to(dtype=request.dtype, memory_format=request.memory_format), labels
        finally:
            # Workers of an epoch that is cut off would go on and slow down what comes next.
            self._keys.cut_off = True
            for _ in batches:
                pass

    def close(self) -> None:
        self._loader = None  # the workers end with the loader's iterator


class Keys(Sampler[Key]):
    """Batches in the order of our permutation, each with what its draws are seeded by."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.epoch = 0
        self.cut_off = False

    def __len__(self) -> int:
        return self._pipeline.steps_per_epoch

    def __iter__(self) -> Iterator[Key]:
        epoch, self.cut_off = self.epoch, False
        for batch, samples in enumerate(self._pipeline.permutation(epoch).tolist()):
            if self.cut_off:
                return
            yield epoch, batch, samples


class Samples(Dataset[Batch]):
    """Makes whole batches, sample by sample, so that draws do not depend on the worker."""

    def __init__(self, request: Request) -> None:
        self._flipped = -1, torch.empty(0)
        self._images_NCHW = request.images.images.permute(0, 3, 1, 2)
        self._labels_N = request.images.labels
        self._request = request
        plain = [op for op in request.augmentation.ops if not isinstance(op, MIXING)]
        self._transform = transforms(plain, request.images)
        self._flips = [step for step in self._transform.transforms if isinstance(step, Alternating)]

    def __getitem__(self, key: Key) -> Batch:
        epoch, batch, samples = key
        seed = derive_seed(self._request.seed, "draws", epoch, batch)
        with OwnStream(seed, torch.device("cpu")).drawing(), single_thread():
            x_BCHW = torch.stack([self._image(index, epoch) for index in samples])
        return x_BCHW, self._labels_N[samples]

    def _image(self, index: int, epoch: int) -> Tensor:
        if self._flips and self._flipped[0] != epoch:
            self._flipped = epoch, flipped(self._request, epoch)
        for flip in self._flips:
            flip.flipped = bool(self._flipped[1][index])
        image_CHW: Tensor = self._transform(self._images_NCHW[index])
        return image_CHW


@contextmanager
def single_thread() -> Iterator[None]:
    """As in a worker: one image is too little work to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """Mirrors if it was told to."""

    flipped = False

    def forward(self, image_CHW: Tensor) -> Tensor:
        return F.horizontal_flip(image_CHW) if self.flipped else image_CHW


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

    def forward(self, image_CHW: Tensor) -> Tensor:
        height, width = image_CHW.shape[1:]
        angle, right, down, scale = torch.rand(4).tolist()
        low, high = self.op.scale
        warped: Tensor = F.affine(
            image_CHW,
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
    """The policy and the normalisation, for one image uint8 (C, H, W)."""
    steps: list[nn.Module] = []
    dtype = torch.uint8
    for op in ops:
        wanted = torch.uint8 if isinstance(op, AUTOMATIC) else dtype
        wanted = torch.float32 if isinstance(op, IN_FLOAT) else wanted
        if wanted != dtype:
            steps.append(v2.ToDtype(wanted, scale=True))
        steps.append(WAYS[type(op)](op, images))
        dtype = wanted
    if dtype == torch.uint8:
        steps.append(v2.ToDtype(torch.float32, scale=True))
    return v2.Compose([*steps, v2.Normalize(list(images.mean), list(images.std))])


def usable_workers() -> int:
    """A worker for each core that this process may use, eight at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


TORCHVISION = Library(
    name="torchvision",
    why="The baseline that everybody has: per-sample transforms in DataLoader workers.",
    build=TorchvisionPipeline,
    ops={**dict.fromkeys(WAYS, "per sample"), **dict.fromkeys(MIXING, "per batch")},
    options={"workers": usable_workers()},
    reference="https://docs.pytorch.org/vision/stable/transforms.html",
)
