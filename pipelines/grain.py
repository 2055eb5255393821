"""Grain: threads that read elements of a data set, here in our order, for native's kernels."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from pipelines.base import Library, Request
from pipelines.decoding import LibraryReader, read
from pipelines.libraries import missing, require
from pipelines.native import NATIVE, NativePipeline
from pipelines.options import READER_OPTIONS
from pipelines.sources.measures import Bytes


def build(request: Request) -> NativePipeline:
    """A reader under native's kernels."""
    with quiet_absl():
        require("grain", "grain")
    return NativePipeline(request, GRAIN.semantics(request.augmentation), Reader(request))


@contextmanager
def quiet_absl() -> Iterator[None]:
    """Keeps Grain's import from warning that there is no JAX."""
    try:
        logging: Any = import_module("absl.logging")
    except ImportError:  # importing Grain then raises it again
        yield
        return
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


class Reader(LibraryReader):
    """Gathers batches from an array, or decodes files one by one as `native` does, in threads."""

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        grain: Any = import_module("grain")
        if not self.images.files:
            ahead = grain.ReadOptions(self.threads, self.ahead)
            rows = grain.MapDataset.source(order_SB.unbind()).map(self._gather)
            batches = rows.to_iter_dataset(ahead)
        else:
            size = order_SB.shape[1]
            ahead = grain.ReadOptions(self.threads, self.ahead * size)
            images = grain.MapDataset.source(order_SB.flatten().tolist()).map(self._read)
            batches = images.to_iter_dataset(ahead).batch(size).map(self._as_tensor)
        with closing(iter(batches)) as iterator:
            yield from iterator

    def _gather(self, index_B: Tensor) -> Tensor:
        return self.images.images[index_B]

    def _read(self, index: int) -> Bytes:
        return np.ascontiguousarray(read(self.images.files[index], self.images.image_size[0]))

    def _as_tensor(self, images_BHWC: Any) -> Tensor:
        return self.as_batch(np.asarray(images_BHWC))


GRAIN = Library(
    name="grain",
    why=(
        "Google's loader from the world of JAX: its threads read in order and decode by "
        "torchvision; the policy by native's kernels."
    ),
    build=build,
    ops=NATIVE.ops,
    plugin_ops="native",
    modes=("compiled", "eager"),
    options=READER_OPTIONS,
    problem=lambda mode, device: missing("grain") or NATIVE.problem(mode, device),
    decodes=True,
    install="grain",
    reference="https://github.com/google/grain",
)
