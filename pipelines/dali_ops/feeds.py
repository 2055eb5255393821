"""Inputs of DALI: an array in memory, or image files decoded each epoch."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.base import Request, usable_cores
from pipelines.dali_ops.flow import Operators
from pipelines.dali_ops.plan import Plan
from pipelines.ops import Crop
from pipelines.sources.base import SourceError

SMALL = 64 * 64  # pixels; smaller images are too little work for many threads
THREADS_SMALL = 8


class Feed(ABC):
    """The source of DALI's input images.

    Args:
        gpu: Whether `batch` is on the GPU.
        layout: DALI's layout of `batch`.
        threads: Number of DALI's CPU threads.
    """

    gpu: bool
    layout: str
    threads: int

    @abstractmethod
    def batch(self, index_B: Tensor) -> Any:
        """The data for the samples int64 (B,), which are on the GPU if `gpu` is set."""

    @abstractmethod
    def images(self, operators: Operators, fed: Any) -> Any:
        """uint8 images HWC from that data, as a graph node or a batch."""

    def explain(self, index_N: Tensor, error: Exception) -> Exception:
        """The error to raise after DALI failed with `error` on some of the samples (N,)."""
        return error


class ArrayFeed(Feed):
    """Gathers from an array on the training device.

    Args:
        plan: The plan, for the padding, which is done once here.
        slots: Number of batches that DALI may still be reading, as it doesn't copy them.
    """

    def __init__(self, request: Request, plan: Plan, slots: int) -> None:
        images = request.images.images.to(request.device)
        if plan.pad:
            (crop,) = (op for op in plan.ordered_ops()[:1] if isinstance(op, Crop))
            images = padded(images, crop)
        self._images_NHWC = images.contiguous()
        shape = request.batch_size, *self._images_NHWC.shape[1:]
        self._slots = [images.new_empty(shape) for _ in range(slots)]
        self._next = 0
        self.gpu = request.device.type == "cuda"
        self.layout = "HWC"
        small = math.prod(request.images.image_size) < SMALL
        self.threads = min(usable_cores(), THREADS_SMALL) if small else usable_cores()

    def batch(self, index_B: Tensor) -> Any:
        slot_BHWC = self._slots[self._next][: len(index_B)]
        self._next = (self._next + 1) % len(self._slots)
        torch.index_select(self._images_NHWC, 0, index_B, out=slot_BHWC)
        return slot_BHWC if self.gpu else slot_BHWC.numpy()

    def images(self, operators: Operators, fed: Any) -> Any:
        return fed


class FileFeed(Feed):
    """Names of files, which DALI reads and decodes on all cores.

    The result is that of `sources.decode`: upright RGB, the largest central square, resized with
    antialiasing and rounded to bytes.
    """

    def __init__(self, request: Request) -> None:
        self._files = request.images.files
        self._names = [np.frombuffer(os.fsencode(path), np.uint8) for path in self._files]
        self._size = request.images.image_size
        self.gpu = False
        self.layout = ""
        self.threads = usable_cores()

    def batch(self, index_B: Tensor) -> Any:
        return [self._names[index] for index in index_B.tolist()]

    def images(self, operators: Operators, fed: Any) -> Any:
        return decoded(operators, fed, self._size)

    def explain(self, index_N: Tensor, error: Exception) -> Exception:
        files = [self._files[index] for index in index_N.tolist()]
        found = unreadable(files)
        if found is None:
            return error
        path, reason = found
        return SourceError(f"{path} cannot be decoded: {reason}; repair or remove it")


def decoded(operators: Operators, names: Any, size: tuple[int, int]) -> Any:
    """uint8 images of one size from the names of their files."""
    fn, types = operators.fn, operators.types
    encoded = fn.io.file.read(names)
    shape = fn.peek_image_shape(encoded, dtype=types.FLOAT)  # upright, as the decoder rotates it
    shape = fn.slice(shape, start=[0], shape=[2], axes=[0])
    side = fn.reductions.min(shape, axes=[0], keep_dims=True)
    start = (shape - side) / 2.0
    image = fn.decoders.image(encoded, device=decoder(operators), output_type=types.RGB)
    return fn.resize(
        image,
        size=[float(length) for length in size],
        roi_start=start,
        roi_end=start + side,
        interp_type=types.INTERP_LINEAR,
        antialias=True,
    )


def decoder(operators: Operators) -> str:
    """DALI's name of the decoder's device; on a GPU it reads bytes from the CPU."""
    if not operators.gpu:
        return "cpu"
    return "mixed" if operators.fn.__name__ == "nvidia.dali.fn" else "gpu"


def unreadable(files: Sequence[Path]) -> tuple[Path, str] | None:
    """The first file that DALI can't decode on the CPU, and why."""
    from nvidia.dali import Pipeline, fn

    for path in files:
        if not path.is_file():
            return path, "there is no such file"
        graph: Any = Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
        with graph:
            name = fn.external_source(name="name")
            graph.set_outputs(fn.decoders.image(fn.io.file.read(name), device="cpu"))
        graph.build()
        graph.feed_input("name", [np.frombuffer(os.fsencode(path), np.uint8)])
        try:
            graph.run()
        except RuntimeError:
            return path, "DALI cannot read it as an image"
    return None


def padded(images_NHWC: Tensor, crop: Crop) -> Tensor:
    """uint8 images with `crop.pad` more pixels on each side; "reflect" as in `Crop`."""
    pad, (count, height, width, channels) = crop.pad, images_NHWC.shape
    out = images_NHWC.new_zeros((count, height + 2 * pad, width + 2 * pad, channels))
    out[:, pad : pad + height, pad : pad + width] = images_NHWC
    if crop.padding == "reflect":
        right, bottom = pad + width - 1, pad + height - 1
        for k in range(1, pad + 1):  # strips are faster than indices
            out[:, :, pad - k] = out[:, :, pad + k]
            out[:, :, right + k] = out[:, :, right - k]
        for k in range(1, pad + 1):
            out[:, pad - k] = out[:, pad + k]
            out[:, bottom + k] = out[:, bottom - k]
    return out
