"""Pipelines whose batches DataLoader workers make, image by image, in our order.

The draws of a batch depend on its number, not on the worker. Libraries differ only in their
`Augment`, of which each worker gets a copy.
"""

import gc
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from pickle import PicklingError
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from pipelines import shared_memory
from pipelines.base import (
    Batch,
    Pipeline,
    Request,
    Semantics,
    Unsupported,
    derive_seed,
    flipped,
)
from pipelines.importing import Executed
from pipelines.ops import AlternatingFlip
from pipelines.randomness import RandomStream
from pipelines.sources.base import Images, SourceError
from pipelines.sources.decode import read_listed

PREFETCH = 2  # batches that each worker has ready
CHECK_S = 20.0  # without a batch, after which the workers are checked
QUIET_CHECKS = 3  # in a row without CPU use, after which the workers count as lost
Key = tuple[int, int, list[int]]  # epoch, batch, samples
Received = Batch | SourceError  # from a worker
Read = Callable[[Path, int], Tensor]  # a file and the image's size to uint8 (H, W, C)


class LoaderWorkerLost(RuntimeError):
    """A worker process has died, or a batch will never arrive; the message says why."""


class Augment(Protocol):
    """A policy and the normalisation for the images of a batch."""

    def __call__(self, images: Iterator[Tensor], flipped: Sequence[bool], seed: int) -> Tensor:
        """Float images (B, C, H, W) of uint8 images (H, W, C), drawn by `seed` alone.

        Args:
            flipped: The images that an alternating flip mirrors.
        """
        ...


def read_with_pillow(path: Path, size: int) -> Tensor:
    """Reads a file as the source does."""
    return torch.from_numpy(read_listed(path.parent, path, size).copy())


class LoaderPipeline(Pipeline):
    """The setup of most training scripts: workers, pinned memory, one copy per batch.

    Args:
        augment: Applied in the workers.
        mix: Applied to whole batches in this process; None if the policy has no such op.
        read: Reads a file.
    """

    def __init__(
        self,
        request: Request,
        semantics: Semantics,
        augment: Augment,
        mix: nn.Module | None = None,
        read: Read = read_with_pillow,
    ) -> None:
        super().__init__(request, semantics)
        workers = request.options["workers"]
        self._mix = mix
        self._keys = Keys(self)
        self._loader: DataLoader[Received] | None = DataLoader(
            Samples(request, augment, read),
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
        stream = RandomStream(derive_seed(request.seed, "mixes", index), torch.device("cpu"))
        batches = Batches(self._loader)
        try:
            for batch in batches:
                if isinstance(batch, SourceError):
                    raise batch
                x_BCHW = batch[0].to(request.device, non_blocking=True)
                labels = batch[1].to(request.device, non_blocking=True)
                if self._mix is not None:
                    with stream.drawing():
                        x_BCHW, labels = self._mix(x_BCHW, labels)
                yield x_BCHW.to(dtype=request.dtype, memory_format=request.memory_format), labels
        finally:
            # The workers of an interrupted epoch would go on, and slow down the next epoch.
            self._keys.interrupted = True
            if batches.lost():
                self.close()
            else:
                for _ in batches:
                    pass

    def close(self) -> None:
        iterator: Any = getattr(self._loader, "_iterator", None)
        self._loader = None
        if iterator is not None:  # explicitly, as the frames of an error may keep it alive
            iterator._shutdown_workers()


class Batches(Iterator[Received]):
    """The batches of an epoch; torch itself would wait forever for the batch of a lost worker."""

    def __init__(self, loader: "DataLoader[Received]") -> None:
        with frozen_garbage():
            try:
                self._batches = iter(loader)
            except (PicklingError, AttributeError, TypeError) as error:
                raise Unsupported(
                    "worker processes are no forks here, and the policy cannot be sent to them "
                    f"({error}): take workers=0, or ops whose fields are no functions"
                ) from error
        self._workers: Sequence[BaseProcess] = getattr(self._batches, "_workers", ())
        self._silent = False

    def __next__(self) -> Received:
        """The next batch.

        Raises:
            LoaderWorkerLost: A worker has died, or all are silent.
        """
        quiet, used_s, asked = 0, 0.0, time.monotonic()
        while True:
            try:
                batch: Received = next(self._batches)
                return batch
            except RuntimeError as error:
                if not self.lost():
                    if time.monotonic() - asked < CHECK_S:  # an error that a worker raised
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
                return describe_exit(worker.exitcode or 0)
        if self._silent:
            return (
                f"no worker process of the DataLoader has sent a batch or used a core for "
                f"{CHECK_S * QUIET_CHECKS:g} s: a batch was lost, or the workers are stopped; "
                f"{shared_memory.remedy()}"
            )
        return ""


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Keeps processes that are forked in the block from collecting this process's garbage.

    Deleting some objects, such as DALI's pipelines, waits for threads that a fork doesn't have.
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


def describe_exit(code: int) -> str:
    """Why a worker process died, by its exit code, and what to do."""
    if code >= 0:
        return f"a worker process of the DataLoader exited by itself with exit code {code}"
    name = signal.Signals(-code).name
    advice = {
        signal.SIGBUS: shared_memory.remedy(),
        signal.SIGKILL: "the system kills processes when the host's memory is used up: take fewer "
        "workers, as in --pipeline 'torchvision[workers=2]'",
    }.get(signal.Signals(-code), "the log has what it printed")
    return f"a worker process of the DataLoader was killed by signal {-code} {name}; {advice}"


class Keys(Sampler[Key]):
    """The samples of each batch in our order, with epoch and batch number for the seed."""

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


class Samples(Dataset[Received]):
    """Makes whole batches, sample by sample, so that draws don't depend on the worker."""

    def __init__(self, request: Request, augment: Augment, read: Read) -> None:
        self._request, self._augment, self._read = request, augment, read
        self._alternates = any(isinstance(op, AlternatingFlip) for op in request.augmentation.ops)
        self._flipped = -1, torch.empty(0)

    def __reduce__(self) -> tuple[Any, ...]:  # for workers that are no forks
        return _samples, (Executed(), self._request, self._augment, self._read)

    def __getitem__(self, key: Key) -> Received:
        """A batch, or a file's error as a value, since torch would add the worker's traceback."""
        try:
            return self._batch(key)
        except SourceError as error:
            return error

    def _batch(self, key: Key) -> Batch:
        epoch, batch, samples = key
        seed = derive_seed(self._request.seed, "draws", epoch, batch)
        with single_thread():
            x_BCHW = self._augment(map(self._source, samples), self._mirrored(epoch, samples), seed)
        return x_BCHW, self._request.images.labels[samples]

    def _mirrored(self, epoch: int, samples: list[int]) -> list[bool]:
        if not self._alternates:
            return [False] * len(samples)
        if self._flipped[0] != epoch:
            self._flipped = epoch, flipped(self._request, epoch)
        mirrored: list[bool] = self._flipped[1][samples].tolist()
        return mirrored

    def _source(self, index: int) -> Tensor:
        """uint8 (H, W, C), decoded now if the source has files."""
        images = self._request.images
        if not images.files:
            return images.images[index]
        return self._read(images.files[index], images.image_size[0])


def _samples(executed: object, *arguments: Any) -> Samples:
    return Samples(*arguments)


@contextmanager
def single_thread() -> Iterator[None]:
    """Uses one thread, as workers do: an image is too little work for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shared_bytes(images: Images, batch_size: int, options: Mapping[str, int]) -> int:
    """Bytes of the float32 batches that workers have ready, and of the one that is in use."""
    workers = options["workers"]
    batches = min(workers * PREFETCH, len(images) // batch_size) + 1
    image_bytes = 4 * images.images[0].numel() + images.labels.element_size()
    return batches * batch_size * image_bytes if workers else 0
