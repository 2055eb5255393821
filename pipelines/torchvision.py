"""torchvision's transforms, one image at a time in the workers of a DataLoader."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed
from pipelines.ops import Crop, Cutout, HorizontalFlip, Op
from pipelines.randomness import OwnStream
from pipelines.sources.base import Images

Key = tuple[int, int, list[int]]  # epoch, batch, samples


class TorchvisionPipeline(Pipeline):
    """The set-up that most training scripts have: workers, pinned memory, one copy a batch."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, TORCHVISION.semantics(request.augmentation))
        workers = request.options["workers"]
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
        for x_BCHW, labels_B in self._loader:
            yield (
                x_BCHW.to(
                    device=request.device,
                    dtype=request.dtype,
                    memory_format=request.memory_format,
                    non_blocking=True,
                ),
                labels_B.to(request.device, non_blocking=True),
            )

    def close(self) -> None:
        self._loader = None  # the workers end with the loader's iterator


class Keys(Sampler[Key]):
    """Batches in the order of our permutation, each with what its draws are seeded by."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.epoch = 0

    def __len__(self) -> int:
        return self._pipeline.steps_per_epoch

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        for batch, samples in enumerate(self._pipeline.permutation(epoch).tolist()):
            yield epoch, batch, samples


class Samples(Dataset[Batch]):
    """Makes whole batches, sample by sample, so that draws do not depend on the worker."""

    def __init__(self, request: Request) -> None:
        self._images_NCHW = request.images.images.permute(0, 3, 1, 2)
        self._labels_N = request.images.labels
        self._seed = request.seed
        self._transform = transforms(request.augmentation.ops, request.images)

    def __getitem__(self, key: Key) -> Batch:
        epoch, batch, samples = key
        stream = OwnStream(derive_seed(self._seed, "draws", epoch, batch), torch.device("cpu"))
        with stream.drawing(), single_thread():
            x_BCHW = torch.stack([self._transform(self._images_NCHW[index]) for index in samples])
        return x_BCHW, self._labels_N[samples]


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


WAYS: dict[type[Op], Callable[..., nn.Module]] = {
    Crop: crop,
    HorizontalFlip: horizontal_flip,
    Cutout: cutout,
}
IN_FLOAT = (Cutout,)  # its fill, the mean, is no whole number


def transforms(ops: Sequence[Op], images: Images) -> v2.Compose:
    """The policy and the normalisation, for one image uint8 (C, H, W)."""
    to_float = v2.ToDtype(torch.float32, scale=True)
    steps: list[nn.Module] = []
    for op in ops:
        if isinstance(op, IN_FLOAT) and to_float not in steps:
            steps.append(to_float)
        steps.append(WAYS[type(op)](op, images))
    if to_float not in steps:
        steps.append(to_float)
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
    ops=dict.fromkeys(WAYS, "per sample"),
    options={"workers": usable_workers()},
    reference="https://docs.pytorch.org/vision/stable/transforms.html",
)
