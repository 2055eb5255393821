"""Inputs of DALI: an array in memory, or image files decoded each epoch.

DALI decodes what is left of a cut file without an error, and some spoiled files crash the process.
So files that have changed since the start are refused, before and after DALI has read them.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.base import Request, Unsupported
from pipelines.dali_ops.flow import Operators
from pipelines.dali_ops.plan import Plan
from pipelines.ops import Crop
from pipelines.options import usable_cores
from pipelines.sources.base import Images, SourceError
from pipelines.sources.decode import open_plain, read_listed
from pipelines.sources.errors import listed

# The first bytes of files in the formats that DALI decodes: their last bytes, or "" if unknown.
FORMATS = {
    b"\xff\xd8\xff": b"\xff\xd9",  # JPEG
    b"\x89PNG": b"IEND\xaeB`\x82",
    **dict.fromkeys((b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP"), b""),  # JPEG 2000 last
    **dict.fromkeys((b"P%d" % number for number in range(1, 7)), b""),  # PBM, PGM, PPM
}
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2",
            ".ppm", ".pgm", ".pbm", ".pnm")  # fmt: skip
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

    def check(self, index_B: Tensor) -> None:  # noqa: B027 - an array cannot break
        """Raises if the data of some samples is broken; called after they were read."""

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
        self._states = [size_and_time(path) for path in self._files]
        for path in self._files:
            check_file(path)

    def check(self, index_B: Tensor) -> None:
        """Raises a `SourceError` if one of the files has changed."""
        for index in index_B.tolist():
            path = self._files[index]
            if size_and_time(path) != self._states[index]:
                read_once(path)
                raise SourceError(f"{path} has changed since dali first read it: start again")

    def batch(self, index_B: Tensor) -> Any:
        self.check(index_B)
        return [self._names[index] for index in index_B.tolist()]

    def images(self, operators: Operators, fed: Any) -> Any:
        return decoded(operators, fed, self._size)

    def explain(self, index_N: Tensor, error: Exception) -> Exception:
        if isinstance(error, SourceError):
            return error
        files = [self._files[index] for index in index_N.tolist()]
        try:
            for path in files:
                read_once(path)
        except SourceError as broken:
            return broken
        if path := first_undecodable(files):
            return SourceError(
                f"dali cannot decode {path}, although Pillow can: save the file anew, or choose "
                "another pipeline"
            )
        error.add_note(f"DALI was decoding {listed([str(path) for path in files])}")
        return error


def size_and_time(path: Path) -> tuple[int, int]:
    """Size and modification time; (-1, -1) if there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


def check_file(path: Path) -> None:
    """Reads only the ends of a file that looks whole.

    Raises:
        Unsupported: DALI lacks the file's format.
        SourceError: The file is broken.
    """
    head, tail = ends(path)
    known = magic_of(head)
    if known is not None and FORMATS[known] and tail.endswith(FORMATS[known]):
        return
    read_once(path)
    if known is None:
        raise undecodable(path)


def unfit(images: Images, batch_size: int, options: Mapping[str, int]) -> str:
    """Why DALI can't decode the files; opens only those whose suffix doesn't tell."""
    for path in images.files:
        if not path.name.lower().endswith(SUFFIXES) and magic_of(ends(path)[0]) is None:
            try:
                read_once(path)
            except SourceError as broken:
                return str(broken)
            return str(undecodable(path))
    return ""


def magic_of(head: bytes) -> bytes | None:
    """The key of `FORMATS` that a file begins with; None if DALI doesn't decode it."""
    return next((magic for magic in FORMATS if head.startswith(magic)), None)


def ends(path: Path) -> tuple[bytes, bytes]:
    """The first and last 16 bytes of a file; empty if it can't be read."""
    try:
        with open_plain(path) as file:
            head = file.read(16)
            file.seek(-min(16, len(head)), os.SEEK_END)
            return head, file.read(16)
    except OSError:
        return b"", b""


def read_once(path: Path) -> None:
    """Raises a `SourceError` that names the file if Pillow can't read it."""
    read_listed(path.parent, path, 1)


def undecodable(path: Path) -> Unsupported:
    """The error for a sound file that DALI can't decode."""
    with Image.open(path) as image:
        kind = image.format
    return Unsupported(
        f"dali cannot decode {kind} files such as {path}: leave out --decode, or choose another "
        "pipeline"
    )


def decoded(operators: Operators, names: Any, size: tuple[int, int]) -> Any:
    """uint8 images of one size from the names of their files."""
    fn, types = operators.fn, operators.types
    encoded = read(fn, names)
    shape = fn.peek_image_shape(encoded, dtype=types.FLOAT)  # upright, as the decoder rotates it
    shape = fn.slice(shape, start=[0], shape=[2], axes=[0])
    side = fn.reductions.min(shape, axes=[0], keep_dims=True)
    start = operators.math.floor((shape - side) / 2.0)
    # What cannot be parsed fails above: the decoder would fail too, and sometimes crash.
    square = fn.decoders.image_slice(
        encoded,
        start=fn.cast(start, dtype=types.INT32),
        shape=fn.cast(fn.cat(side, side), dtype=types.INT32),
        axes=[0, 1],
        device=decoder(operators),
        output_type=types.RGB,
    )
    return fn.resize(
        square,
        size=[float(length) for length in size],
        interp_type=types.INTERP_LINEAR,
        antialias=True,
    )


def read(fn: Any, names: Any) -> Any:
    """The files' bytes. DALI maps files into memory by default, and crashes if one is truncated."""
    return fn.io.file.read(names, dont_use_mmap=True)


def decoder(operators: Operators) -> str:
    """DALI's name of the decoder's device; "mixed" takes bytes on the CPU, decodes on the GPU."""
    if not operators.gpu:
        return "cpu"
    return "mixed" if operators.fn.__name__ == "nvidia.dali.fn" else "gpu"


def first_undecodable(files: Sequence[Path]) -> Path | None:
    """The first file that DALI can't decode on the CPU."""
    from nvidia.dali import Pipeline, fn

    graph: Any = Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with graph:
        name = fn.external_source(name="name")
        graph.set_outputs(fn.decoders.image(read(fn, name), device="cpu"))
    graph.build()
    for path in files:
        graph.feed_input("name", [np.frombuffer(os.fsencode(path), np.uint8)])
        try:
            graph.run()
        except RuntimeError:
            return path
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
