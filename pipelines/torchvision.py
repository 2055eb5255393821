"""torchvision's transforms, one image at a time in the workers of a DataLoader."""

import gc
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from pipelines import shared_memory
from pipelines.base import (
    Batch,
    Draws,
    Library,
    Pipeline,
    Request,
    derive_seed,
    flipped,
    usable_cores,
)
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
    way_of,
)
from pipelines.randomness import OwnStream
from pipelines.sources.base import Images
from pipelines.sources.decode import read_listed

V2 = "torchvision.transforms.v2"  # slow to import, so only when a pipeline is built
MAX_WORKERS = 8
PREFETCH = 2  # batches that each worker has ready
CHECK_S = 20.0  # without a batch, until the workers are looked at
QUIET_CHECKS = 3  # in which no worker used a core, until they count as lost
Key = tuple[int, int, list[int]]  # epoch, batch, samples


class LoaderWorkerLost(RuntimeError):
    """A worker process has died, or its batch never arrives; the message says why."""


class TorchvisionPipeline(Pipeline):
    """The setup of most training scripts: workers, pinned memory, one copy per batch."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, TORCHVISION.semantics(request.augmentation))
        require("torchvision", V2)
        workers = request.options["workers"]
        self._mix = mixing(request.augmentation.ops, len(request.images.classes))
        self._keys = Keys(self)
        self._loader: DataLoader[Batch] | None = DataLoader(
            Samples(request),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            persistent_workers=workers > 0,
            timeout=CHECK_S if workers else 0.0,
            pin_memory=request.device.type == "cuda",
            generator=torch.Generator(),  # otherwise its seed is drawn from the global generator
        )

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        if self._loader is None:
            raise RuntimeError("this pipeline was closed")
        self._keys.epoch = index
        stream = OwnStream(derive_seed(request.seed, "mixes", index), torch.device("cpu"))
        batches = Received(self._loader)
        try:
            for x_BCHW, labels in batches:
                x_BCHW = x_BCHW.to(request.device, non_blocking=True)
                labels = labels.to(request.device, non_blocking=True)
                if self._mix is not None:
                    with stream.drawing():
                        x_BCHW, labels = self._mix(x_BCHW, labels)
                yield x_BCHW.to(dtype=request.dtype, memory_format=request.memory_format), labels
        finally:
            # Workers of an interrupted epoch would continue and slow down the next.
            self._keys.interrupted = True
            if batches.lost():
                self.close()
            else:
                for _ in batches:
                    pass

    def close(self) -> None:
        self._loader = None  # the workers stop with the loader's iterator


class Received(Iterator[Batch]):
    """The batches of an epoch; torch itself would wait for that of a lost worker without end."""

    def __init__(self, loader: "DataLoader[Batch]") -> None:
        with garbage_kept():
            self._batches = iter(loader)
        self._workers: Sequence[BaseProcess] = getattr(self._batches, "_workers", ())
        self._silent = False

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            LoaderWorkerLost: A worker has died, or all are silent.
        """
        quiet, used_s, asked = 0, 0.0, time.monotonic()
        while True:
            try:
                batch: Batch = next(self._batches)
                return batch
            except RuntimeError as error:
                if not self.lost():
                    if time.monotonic() - asked < CHECK_S:  # the error of a worker
                        raise
                    before_s, used_s, asked = used_s, cpu_s(self._workers), time.monotonic()
                    quiet = quiet + 1 if used_s - before_s < 0.01 * CHECK_S else 1
                    self._silent = quiet >= QUIET_CHECKS
                if why := self.lost():
                    raise LoaderWorkerLost(why) from error

    def lost(self) -> str:
        """Why a batch will never arrive; "" if all workers work."""
        for worker in self._workers:
            if not worker.is_alive():
                return death(worker.exitcode or 0)
        if self._silent:
            return (
                f"no worker process of the DataLoader has sent a batch or used a core for "
                f"{CHECK_S * QUIET_CHECKS:g} s: a batch was lost, or the workers are stopped; "
                f"{shared_memory.described()}"
            )
        return ""


@contextmanager
def garbage_kept() -> Iterator[None]:
    """Keeps the garbage of this process from being collected in processes forked meanwhile.

    Some of it, as a pipeline of DALI, waits for its threads when it goes, and a fork has none.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def cpu_s(workers: Sequence[BaseProcess]) -> float:
    """Seconds of CPU time that processes have used."""
    times = (psutil.Process(worker.pid).cpu_times() for worker in workers)
    return float(sum(each.user + each.system for each in times))


def death(code: int) -> str:
    """Why a worker process died, from its exit code; and what to do."""
    if code >= 0:
        return f"a worker process of the DataLoader exited by itself with exit code {code}"
    name = signal.Signals(-code).name
    advice = {
        signal.SIGBUS: shared_memory.described(),
        signal.SIGKILL: "the system kills processes when the host's memory is used up: take fewer "
        "workers, as in --pipeline 'torchvision[workers=2]'",
    }.get(signal.Signals(-code), "the log has what it printed")
    return f"a worker process of the DataLoader was killed by signal {-code} {name}; {advice}"


class Keys(Sampler[Key]):
    """Batches in the order of our permutation, with epoch and number as seed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.epoch = 0
        self.interrupted = False

    def __len__(self) -> int:
        return self._pipeline.steps_per_epoch

    def __iter__(self) -> Iterator[Key]:
        epoch, self.interrupted = self.epoch, False
        for batch, samples in enumerate(self._pipeline.permutation(epoch).tolist()):
            if self.interrupted:
                return
            yield epoch, batch, samples


class Samples(Dataset[Batch]):
    """Builds whole batches, sample by sample, so that draws don't depend on the worker."""

    def __init__(self, request: Request) -> None:
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
        """uint8 (H, W, C), decoded now if the source has files."""
        if not self._files:
            return self._images_NHWC[index]
        path, size = self._files[index], self._request.images.image_size[0]
        return torch.from_numpy(read_listed(path.parent, path, size).copy())


@contextmanager
def single_thread() -> Iterator[None]:
    """Uses one thread, as a worker does: an image is too little work for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        way = way_of(op, OPS, "torchvision")
        if way.dtype not in (None, dtype):
            dtype = way.dtype
            steps.append(v2.ToDtype(dtype, scale=True))
        steps.append(way.build(v2, op, images))
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
class Way:
    """An op's implementation in torchvision, for one image or a batch.

    Args:
        build: (`torchvision.transforms.v2`, op, images) to a module; ops that mix get the number of
            classes instead of the images.
        dtype: Required input type; None for any. float32 if results aren't whole numbers, which
            torchvision would round in uint8.
        draws: How `torchvision` draws; `torchvision_batch` always draws once per batch.
    """

    build: Callable[[Any, Any, Any], Any]
    dtype: torch.dtype | None = None
    draws: Draws = "per sample"


FLOAT, UINT8 = torch.float32, torch.uint8
OPS: dict[type[Op], Way] = {
    Crop: Way(build=crop),
    HorizontalFlip: Way(build=lambda v2, op, images: v2.RandomHorizontalFlip(p=op.p)),
    VerticalFlip: Way(build=lambda v2, op, images: v2.RandomVerticalFlip(p=op.p)),
    AlternatingFlip: Way(build=lambda v2, op, images: Alternating()),
    Cutout: Way(build=cutout, dtype=FLOAT),
    RandomErasing: Way(build=random_erasing, dtype=FLOAT),
    ColorJitter: Way(build=color_jitter, dtype=FLOAT),
    Affine: Way(build=lambda v2, op, images: AffineWarp(op), dtype=FLOAT),
    RandomResizedCrop: Way(build=random_resized_crop, dtype=FLOAT),
    Rotation: Way(build=lambda v2, op, images: AffineWarp(op.affine), dtype=FLOAT),
    Grayscale: Way(build=lambda v2, op, images: v2.RandomGrayscale(p=op.p), dtype=FLOAT),
    Solarize: Way(
        build=lambda v2, op, images: v2.RandomSolarize(threshold=op.threshold, p=op.p), dtype=FLOAT
    ),
    GaussianBlur: Way(
        build=lambda v2, op, images: v2.GaussianBlur(op.kernel, op.sigma), dtype=FLOAT
    ),
    # Nearest interpolation and black fill are their defaults.
    RandAugment: Way(
        build=lambda v2, op, images: v2.RandAugment(op.n, op.magnitude, op.bins), dtype=UINT8
    ),
    TrivialAugment: Way(build=lambda v2, op, images: v2.TrivialAugmentWide(op.bins), dtype=UINT8),
    AutoAugment: Way(
        build=lambda v2, op, images: v2.AutoAugment(v2.AutoAugmentPolicy(op.policy)), dtype=UINT8
    ),
    MixUp: Way(
        build=lambda v2, op, classes: v2.MixUp(alpha=op.alpha, num_classes=classes),
        draws="per batch",
    ),
    CutMix: Way(
        build=lambda v2, op, classes: v2.CutMix(alpha=op.alpha, num_classes=classes),
        draws="per batch",
    ),
    RandomChoice: Way(build=random_choice, draws="per batch"),
}


def problem(mode: str, device: str) -> str:
    """Why it can't run; "" if it can."""
    return missing("torchvision")


def shared_bytes(images: Images, batch_size: int, options: Mapping[str, int]) -> int:
    """Bytes of the float32 batches that workers have ready, and of the one that is in use."""
    workers = options["workers"]
    batches = min(workers * PREFETCH, len(images) // batch_size) + 1
    image_bytes = 4 * images.images[0].numel() + images.labels.element_size()
    return batches * batch_size * image_bytes if workers else 0


TORCHVISION = Library(
    name="torchvision",
    why="The usual baseline: per-sample transforms in DataLoader workers.",
    build=TorchvisionPipeline,
    ops={kind: way.draws for kind, way in OPS.items()},
    ways="torchvision",
    options={"workers": min(MAX_WORKERS, usable_cores())},
    problem=problem,
    decodes=True,
    shared_bytes=shared_bytes,
    reference="https://docs.pytorch.org/vision/stable/transforms.html",
)
