"""FFCV: compiled code that reads its own file format, here in our order, for native's kernels."""

import io
import multiprocessing
from collections.abc import Generator
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.base import Library, Request, Unsupported
from pipelines.decoding import batches_ahead, thread_count
from pipelines.libraries import missing, require
from pipelines.native import NATIVE, NativePipeline
from pipelines.options import READER_OPTIONS
from pipelines.sources.base import Images

STOP_TIMEOUT_S = 60.0  # for a thread that was told to end


def build(request: Request) -> NativePipeline:
    """A reader under native's kernels."""
    if len(request.images.mean) != 3:
        raise Unsupported("ffcv keeps images of three channels only")
    require("ffcv", "ffcv.loader")
    return NativePipeline(request, FFCV.semantics(request.augmentation), Reader(request))


class Reader:
    """Writes the source's images to a temporary file, uncompressed, and reads that."""

    def __init__(self, request: Request) -> None:
        loading: Any = import_module("ffcv.loader")
        image: Any = import_module("ffcv.fields.rgb_image")
        self._folder = TemporaryDirectory(prefix="ffcv-")
        path = Path(self._folder.name, "images.beton")
        write(request.images, path)
        self._loader = loading.Loader(
            str(path),
            request.batch_size,
            num_workers=thread_count(request),
            os_cache=True,
            order=loading.OrderOption.SEQUENTIAL,
            batches_ahead=batches_ahead(request),
            drop_last=True,
            pipelines={"image": [image.SimpleRGBImageDecoder()]},
        )

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        self._loader.traversal_order.indices = order_SB.flatten().numpy()
        iterator = iter(self._loader)
        try:
            for (images_BHWC,) in iterator:
                yield torch.from_numpy(images_BHWC).clone()  # FFCV uses its memory again
        finally:  # first the thread, as `close` alone frees the file's memory while it may read it
            iterator.terminate_event.set()
            iterator.join(STOP_TIMEOUT_S)
            iterator.close()

    def close(self) -> None:
        self._folder.cleanup()


def write(images: Images, path: Path) -> None:
    """Writes images, uncompressed, to a file of FFCV's format."""
    writer: Any = import_module("ffcv.writer")
    fields: Any = import_module("ffcv.fields")
    with redirect_stderr(io.StringIO()):  # hides its progress bars
        dataset = writer.DatasetWriter(
            str(path), {"image": fields.RGBImageField(write_mode="raw")}, num_workers=1
        )
        dataset.from_indexed_dataset(Rows(images.images))
    multiprocessing.active_children()  # reaps the writer's process


class Rows:
    """The images as a data set for FFCV."""

    def __init__(self, images_NHWC: Tensor) -> None:
        self._images_NHWC = images_NHWC

    def __len__(self) -> int:
        return len(self._images_NHWC)

    def __getitem__(self, index: int) -> tuple[Any]:
        return (np.ascontiguousarray(self._images_NHWC[index].numpy()),)


def problem(mode: str, device: str) -> str:
    """Why a mode can't run on a device type; "" if it can."""
    return missing("ffcv", FFCV.install) or NATIVE.problem(mode, device)


FFCV = Library(
    name="ffcv",
    why=(
        "Compiled code that reads a file of images, written beforehand without compression; the "
        "policy by native's kernels. Its last release is of 2023, and source code only."
    ),
    build=build,
    ops=NATIVE.ops,
    plugin_ops="native",
    modes=("compiled", "eager"),
    options=READER_OPTIONS,
    problem=problem,
    install="ffcv, after apt-get install g++ pkg-config libopencv-dev libturbojpeg0-dev",
    reference="https://github.com/libffcv/ffcv",
)
