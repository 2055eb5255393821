"""SPDL: a pipeline of threads that reads and decodes, here in our order, for native's kernels."""

import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from ctypes.util import find_library
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pipelines.base import Library, Request
from pipelines.catalog import Unavailable
from pipelines.decoding import LibraryReader, is_common_jpeg, is_whole_and_upright, read_bytes
from pipelines.libraries import missing, require
from pipelines.native import NATIVE, NativePipeline
from pipelines.options import READER_OPTIONS
from pipelines.sources.decode import read_listed
from pipelines.sources.measures import Bytes

NO_FFMPEG = "spdl finds no shared libraries of FFmpeg 4 to 9: apt-get install ffmpeg"
# FFmpeg's best conversion of colours, and its bilinear filter, which is antialiased.
FLAGS = "bilinear+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


def build(request: Request) -> NativePipeline:
    """A reader under native's kernels."""
    require("spdl", "spdl.pipeline")
    return NativePipeline(request, SPDL.semantics(request.augmentation), Reader(request))


class Reader(LibraryReader):
    """Gathers batches from an array, or decodes and resizes files one by one, in SPDL's threads.

    FFmpeg decodes and resizes common JPEG files; its colours differ a little from libjpeg's. Others
    are read by the reference.

    `read_ahead` is the size of SPDL's last queue in batches; its stages hold up to six more.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if request.images.files:
            self._io = ffmpeg()
            size = request.images.image_size[0]
            self._filter = (
                "crop='min(iw,ih)':'min(iw,ih)':'floor((iw-ow)/2)':'floor((ih-oh)/2)':exact=1,"
                f"scale={size}:{size}:flags={FLAGS},format=pix_fmts=rgb24"
            )

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        builder: Any = import_module("spdl.pipeline").PipelineBuilder()
        threads: dict[str, Any] = {"concurrency": self.threads, "output_order": "input"}
        if self.images.files:
            builder.add_source(order_SB.flatten().tolist()).pipe(self._decode, **threads)
            builder.aggregate(order_SB.shape[1])
        else:
            builder.add_source(order_SB.unbind()).pipe(self._gather, **threads)
        builder.add_sink(self.ahead)
        pipeline = builder.build(num_threads=self.threads)
        with pipeline.auto_stop():
            for batch in pipeline:
                yield self._stacked(batch) if self.images.files else batch

    def _gather(self, index_B: Tensor) -> Tensor:
        return self.images.images[index_B]

    def _decode(self, index: int) -> Bytes | Exception:
        """An image, or the error, since SPDL would log an exception and skip the image."""
        try:
            return self._read(self.images.files[index])
        except Exception as error:  # noqa: BLE001 - raised by `_stacked`
            return error

    def _read(self, path: Path) -> Bytes:
        try:
            data = read_bytes(path)
            if is_common_jpeg(data) and is_whole_and_upright(data):
                packets = self._io.demux_image(bytes(data))
                frames = self._io.decode_packets(packets, filter_desc=self._filter)
                image_HWC: Bytes = self._io.to_numpy(self._io.convert_frames(frames))
                return image_HWC
        except (OSError, RuntimeError):
            pass  # `read_listed` decides whether a file is broken
        return read_listed(path.parent, path, self.images.image_size[0])

    def _stacked(self, images: Sequence[Bytes | Exception]) -> Tensor:
        decoded = []
        for image in images:
            if isinstance(image, Exception):
                raise image
            decoded.append(image)
        return self.as_batch(np.stack(decoded))


def ffmpeg() -> Any:
    """SPDL's module that decodes.

    Raises:
        Unavailable: It finds no FFmpeg.
    """
    require("spdl", "spdl.io")
    try:
        import_module("spdl.io.lib")._import_libspdl()
        restore_signals()
    except RuntimeError as error:
        raise Unavailable(NO_FFMPEG) from error
    return import_module("spdl.io")


def restore_signals() -> None:
    """Restores Python's signal handlers, which SPDL replaces by ones that abort the process."""
    if threading.current_thread() is threading.main_thread():
        for number in signal.valid_signals():
            if (handler := signal.getsignal(number)) is not None:
                with suppress(OSError, ValueError):  # those that cannot be set
                    signal.signal(number, handler)


def problem(mode: str, device: str) -> str:
    """Why a mode can't run on a device type; "" if it can."""
    if reason := missing("spdl") or NATIVE.problem(mode, device):
        return reason
    return "" if find_library("avcodec") else NO_FFMPEG


SPDL = Library(
    name="spdl",
    why=(
        "Reads and decodes in SPDL's threads, by FFmpeg (apt-get install ffmpeg); the policy by "
        "native's kernels."
    ),
    build=build,
    ops=NATIVE.ops,
    plugin_ops="native",
    modes=("compiled", "eager"),
    options=READER_OPTIONS,
    problem=problem,
    decodes=True,
    install="spdl",
    reference="https://github.com/facebookresearch/spdl",
)
