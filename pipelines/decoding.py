"""Decodes image files into batches, in threads that release Python's lock while they decode."""

import io
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipelines.base import Request
from pipelines.batch_memory import BatchMemory
from pipelines.catalog import Unavailable
from pipelines.options import NVJPEG, READ_AHEAD, THREADS, usable_cores
from pipelines.sources.base import Images
from pipelines.sources.decode import MAX_PIXELS, central_square, open_plain, read_listed
from pipelines.sources.measures import Bytes

AHEAD, MAX_THREADS = 2, 256
ORIENTATION = 0x112  # Exif's tag
METADATA, FRAMES = 0xFFE1, (0xFFC0, 0xFFC1, 0xFFC2)  # markers of a JPEG file


class Reader(Protocol):
    """Reads the images of a set in a given order, ahead of their use."""

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        """The images of each row of `order_SB`: uint8 (B, H, W, C) on the CPU or the device.

        A batch is not changed as long as a tensor holds it. Closing the generator stops the work.
        At most one generator is open at a time.

        Raises:
            SourceError: An image can't be read; the message names its file.
        """
        ...

    def close(self) -> None:
        """Frees threads and processes; safe to call twice."""
        ...


class DeviceImages:
    """A source's images on the training device, gathered there or decoded from its files."""

    def __init__(self, request: Request) -> None:
        self._device = request.device
        self._reader = decoder(request) if request.images.files else None
        self._images_NHWC = request.images.images
        if self._reader is None:
            self._images_NHWC = self._images_NHWC.to(request.device)

    def batches(self, order_SB: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The samples (B,) of each row of the order, and their images: uint8 (B, H, W, C)."""
        on_device_SB = order_SB.to(self._device)
        if self._reader is None:
            for index_B in on_device_SB:
                yield index_B, self._images_NHWC[index_B]
            return
        with closing(self._reader.batches(order_SB)) as batches:
            for index_B, images_BHWC in zip(on_device_SB, batches, strict=True):
                yield index_B, images_BHWC.to(self._device, non_blocking=True)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def thread_count(request: Request) -> int:
    """The number of threads: as the options say, or one per usable core."""
    return request.options.get(THREADS) or usable_cores()


def batches_ahead(request: Request) -> int:
    """The number of batches to read ahead: as the options say, or `AHEAD`."""
    return request.options.get(READ_AHEAD) or AHEAD


class LibraryReader:
    """Base of readers that use another library's threads, which end with each epoch."""

    def __init__(self, request: Request) -> None:
        self.images = request.images
        self.threads = thread_count(request)
        self.ahead = batches_ahead(request)
        self._pinned = request.device.type == "cuda"

    def as_batch(self, images_BHWC: Bytes) -> Tensor:
        """Decoded images as a tensor, in pinned memory for a GPU."""
        batch_BHWC = torch.from_numpy(images_BHWC)
        return batch_BHWC.pin_memory() if self._pinned else batch_BHWC

    def close(self) -> None:
        """Nothing is left to free."""


def decoder(request: Request) -> "Decoder":
    """The decoder that the options ask for.

    Raises:
        Unavailable: The options ask for nvJPEG, and the device is not a GPU.
    """
    if not request.options.get(NVJPEG):
        return Decoder(request)
    if request.device.type != "cuda":
        raise Unavailable("nvjpeg=1 decodes on a GPU: leave it out, or add --device cuda")
    return NvjpegDecoder(request)


class Decoder:
    """A `Reader` of `Images.files`: pixels are within 1 of 255 of `sources.decode.read_image`'s.

    The request's options are `threads` (0 for one per usable core) and `read_ahead`, the number of
    batches that are decoded while one is used.
    """

    def __init__(self, request: Request) -> None:
        self._files = request.images.files
        self._size = request.images.image_size[0]
        self._gpu = request.device.type == "cuda"
        self._ahead = batches_ahead(request)
        shape = request.batch_size, 3, self._size, self._size
        # Besides those ahead: one in use, one awaited, one that a finished thread still refers to.
        kept = self._ahead + 3
        self._memory = BatchMemory(shape, torch.uint8, torch.channels_last, kept)
        self._pool = ThreadPoolExecutor(thread_count(request), "decoder")

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        rows = deque(order_SB.tolist())
        pending: deque[PendingBatch] = deque()
        try:
            while rows or pending:
                while rows and len(pending) <= self._ahead:
                    pending.append(self._start(rows.popleft()))
                for future in pending[0].futures:
                    future.result()
                yield pending.popleft().result()
        finally:
            for batch in pending:
                for future in batch.futures:
                    future.cancel()

    def _start(self, row: list[int]) -> "PendingBatch":
        if self._gpu:  # torch itself reuses pinned memory once it has been copied from
            shape = len(row), self._size, self._size, 3
            batch_BHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            batch_BHWC = self._memory.take().permute(0, 2, 3, 1)
        images = batch_BHWC.numpy()
        futures = [self._pool.submit(self._read, *each) for each in zip(row, images, strict=True)]
        return PendingBatch(futures=futures, result=lambda: batch_BHWC)

    def _read(self, index: int, to_HWC: Bytes) -> None:
        to_HWC[:] = read(self._files[index], self._size)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class PendingBatch:
    """A batch that is being decoded; `result` returns it once all `futures` are done."""

    futures: Sequence[Future[Any]]
    result: Callable[[], Tensor]


class NvjpegDecoder(Decoder):
    """As `Decoder`, but nvJPEG decodes JPEG files on the GPU, where torch resizes them.

    The threads read the files, and decode those that aren't JPEG or are rotated. One more thread
    passes the files to the GPU, batch by batch.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._device = request.device
        self._gpu_thread = ThreadPoolExecutor(1, "decoder of nvJPEG")

    def _start(self, row: list[int]) -> PendingBatch:
        loaded = [self._pool.submit(self._load, index) for index in row]
        batch = self._gpu_thread.submit(lambda: self.assembled([one.result() for one in loaded]))
        return PendingBatch(futures=[*loaded, batch], result=batch.result)

    def _load(self, index: int) -> Tensor:
        """The bytes (N,) of a file for nvJPEG, or the decoded image (H, W, C)."""
        path = self._files[index]
        with suppress(OSError):
            data = read_bytes(path)
            if is_common_jpeg(data) and is_whole_and_upright(data):
                return torch.frombuffer(data, dtype=torch.uint8)
        image_HWC = torch.from_numpy(read(path, self._size).copy())
        return image_HWC.pin_memory() if self._gpu else image_HWC

    def assembled(self, loaded: Sequence[Tensor]) -> Tensor:
        """A batch uint8 (B, H, W, C) on the device, from what `_load` returned."""
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = [one for one in loaded if one.ndim == 1]
        decoded = iter(decode_jpeg(encoded, ImageReadMode.RGB, self._device) if encoded else ())
        return torch.stack(
            [
                resized(next(decoded), self._size)
                if one.ndim == 1
                else one.to(self._device, non_blocking=True)
                for one in loaded
            ]
        )

    def close(self) -> None:
        super().close()
        self._gpu_thread.shutdown(cancel_futures=True)


def resized(image_CHW: Tensor, size: int) -> Tensor:
    """The central square of an image on any device: uint8 (size, size, C)."""
    left, top, side = central_square(image_CHW.shape[2], image_CHW.shape[1])
    square_CHW = image_CHW[:, top : top + side, left : left + side].to(torch.float32)
    resized_1CHW = functional.interpolate(
        square_CHW[None], (size, size), mode="bilinear", antialias=True
    )
    return resized_1CHW[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


def unfit(images: Images, batch_size: int, options: Mapping[str, int]) -> str:
    """Why these options don't go with the images; "" if they do."""
    asked = [f"{key}={value}" for key, value in options.items() if value]
    if asked and not images.files:
        return f"{asked[0]} is about decoding image files: add --decode, or leave it out"
    if options.get(NVJPEG, 0) > 1:
        return f"nvjpeg is 0 or 1, not {options[NVJPEG]}"
    if options[THREADS] > MAX_THREADS:
        return f"threads={options[THREADS]} is too many: take at most {MAX_THREADS} threads"
    held = min(options[READ_AHEAD], len(images) // batch_size) + 2
    need = held * batch_size * images.images[0].numel()
    free = psutil.virtual_memory().available
    if options[READ_AHEAD] and need > free:
        return (
            f"read_ahead={options[READ_AHEAD]} takes {need / 2**30:,.1f} GiB of memory, and "
            f"{free / 2**30:,.1f} GiB are free: read fewer batches ahead"
        )
    return ""


def decode_with_torchvision(data: bytearray) -> Tensor:
    """Decodes a JPEG file to uint8 (C, H, W)."""
    from torchvision.io import ImageReadMode, decode_jpeg  # slow to import, and only for files

    image_CHW: Tensor = decode_jpeg(
        torch.frombuffer(data, dtype=torch.uint8),
        ImageReadMode.UNCHANGED,
        apply_exif_orientation=True,
    )
    return image_CHW


def read(
    path: Path, size: int, decode: Callable[[bytearray], Tensor] = decode_with_torchvision
) -> Bytes:
    """One image as RGB uint8 (size, size, 3), within 1 of what `read_image` gives.

    Args:
        decode: Decodes common JPEG files, upright; a RuntimeError leaves the file to Pillow.

    Raises:
        SourceError: It can't be read; the message names it.
    """
    try:
        data = read_bytes(path)
        if not is_common_jpeg(data):
            return read_listed(path.parent, path, size)
        image_CHW = decode(data)
    except (OSError, RuntimeError):  # `read_image` decides whether a file is broken
        return read_listed(path.parent, path, size)
    left, top, side = central_square(image_CHW.shape[2], image_CHW.shape[1])
    square_HWC = image_CHW.permute(1, 2, 0).numpy()[top : top + side, left : left + side]
    # NumPy makes the copy, as torch would start threads of its own in each of ours.
    square_1HWC = torch.from_numpy(np.ascontiguousarray(square_HWC))[None]
    square_1CHW = square_1HWC.permute(0, 3, 1, 2)  # channels last, and so is what it is resized to
    resized_1CHW = functional.interpolate(
        square_1CHW, (size, size), mode="bilinear", antialias=True
    )
    return resized_1CHW[0].permute(1, 2, 0).expand(-1, -1, 3).numpy()


def read_bytes(path: Path) -> bytearray:
    """The content of a file, as `open_plain` opens it."""
    with open_plain(path) as file:
        return bytearray(file.read())


def is_common_jpeg(data: bytearray) -> bool:
    """Whether torchvision decodes a file as Pillow does, as far as its header tells.

    That is a JPEG file with one or three channels of 8 bits, of a permitted size, whose only
    metadata is Exif, as other metadata may say how the image is rotated.
    """
    at, end = 2, len(data) - 10
    if not data.startswith(b"\xff\xd8"):
        return False
    while at < end:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker in FRAMES:
            bits, height, width, colours = struct.unpack_from(">BHHB", data, at + 4)
            return bits == 8 and colours in (1, 3) and 0 < height * width <= MAX_PIXELS
        other = marker == METADATA and not data.startswith(b"Exif\0\0", at + 4)
        if marker < 0xFF00 or other:
            return False
        at += 2 + length
    return False


def is_whole_and_upright(data: bytearray) -> bool:
    """Whether a JPEG file is complete and not rotated, for decoders that check neither."""
    if not data.endswith(b"\xff\xd9"):
        return False
    if b"Exif" not in data[:4096]:
        return True
    with Image.open(io.BytesIO(data)) as image:
        return bool(image.getexif().get(ORIENTATION, 1) == 1)
