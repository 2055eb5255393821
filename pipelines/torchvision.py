"""torchvision's transforms, one image at a time in the workers of a DataLoader."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.libraries import lack, require
from pipelines.ops import (
    AUTOMATIC,
    MIXING,
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    HorizontalFlip,
    Op,
    RandomErasing,
    RandomResizedCrop,
)
from pipelines.randomness import OwnStream
from pipelines.sources.decode import read_listed

OPS: tuple[type[Op], ...] = (
    Crop,
    HorizontalFlip,
    AlternatingFlip,
    Cutout,
    RandomErasing,
    ColorJitter,
    Affine,
    RandomResizedCrop,
    *AUTOMATIC,
)
Key = tuple[int, int, list[int]]  # epoch, batch, samples


class TorchvisionPipeline(Pipeline):
    """The set-up that most training scripts have: workers, pinned memory, one copy a batch."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, TORCHVISION.semantics(request.augmentation))
        require("torchvision", "pipelines.torchvision_ops.ways")
        from pipelines.torchvision_ops.ways import mixing

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
        from pipelines.torchvision_ops.ways import Alternating, transforms

        self._flipped = -1, torch.empty(0)
        self._images_NHWC = request.images.images
        self._files = request.images.files
        self._labels_N = request.images.labels
        self._request = request
        self._transform = transforms(request.augmentation.ops, request.images)
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
        image_CHW: Tensor = self._transform(self._source(index).permute(2, 0, 1))
        return image_CHW

    def _source(self, index: int) -> Tensor:
        """uint8 (H, W, C): decoded now where there are files."""
        if not self._files:
            return self._images_NHWC[index]
        path, size = self._files[index], self._request.images.image_size[0]
        return torch.from_numpy(read_listed(path.parent, path, size).copy())


@contextmanager
def single_thread() -> Iterator[None]:
    """As in a worker: one image is too little work to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_workers() -> int:
    """A worker for each core that this process may use, eight at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


def problem(mode: str, device: str) -> str:
    """Why it cannot run on a device type."""
    return lack("torchvision")


TORCHVISION = Library(
    name="torchvision",
    why="The baseline that everybody has: per-sample transforms in DataLoader workers.",
    build=TorchvisionPipeline,
    ops={**dict.fromkeys(OPS, "per sample"), **dict.fromkeys(MIXING, "per batch")},
    options={"workers": usable_workers()},
    problem=problem,
    decodes=True,
    reference="https://docs.pytorch.org/vision/stable/transforms.html",
)
