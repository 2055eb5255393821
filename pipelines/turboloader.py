"""TurboLoader: a pool of threads with its own JPEG decoder, in our order, for native's kernels."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.base import Library, Request
from pipelines.decoding import LibraryReader, is_whole_and_upright, read
from pipelines.libraries import missing, require
from pipelines.native import NATIVE, NativePipeline
from pipelines.options import READER_OPTIONS
from pipelines.sources.measures import Bytes


def build(request: Request) -> NativePipeline:
    """A reader under native's kernels."""
    require("turboloader", "turboloader")
    return NativePipeline(request, TURBOLOADER.semantics(request.augmentation), Reader(request))


class Reader(LibraryReader):
    """Gathers batches from an array, or decodes files one by one, by a `MapDataLoader`.

    TurboLoader's loaders in C++ take a tar archive, in an order of their own, and squash images
    instead of cropping a square, so they cannot do this work.
    """

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        library: Any = import_module("turboloader")
        collate: Callable[[Sequence[Any]], Tensor]
        if self.images.files:
            elements = Elements(order_SB.flatten().tolist(), self._read)
            size, collate = order_SB.shape[1], self._stacked
        else:
            elements = Elements(order_SB.unbind(), self.images.images.__getitem__)
            size, collate = 1, lambda batches: batches[0]
        loader = library.MapDataLoader(
            elements,
            size,
            num_workers=self.threads,
            collate_fn=collate,
            prefetch_batches=self.ahead,
        )
        with closing(iter(loader)) as batches:
            yield from batches

    def _read(self, index: int) -> Bytes:
        path: Path = self.images.files[index]
        return np.ascontiguousarray(read(path, self.images.image_size[0], decode))

    def _stacked(self, images: Sequence[Bytes]) -> Tensor:
        return self.as_batch(np.stack(images))


@dataclass(frozen=True)
class Elements:
    """A data set for TurboLoader: `get` of each of the keys."""

    keys: Sequence[Any]
    get: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, at: int) -> Any:
        return self.get(self.keys[at])


def decode(data: bytearray) -> Tensor:
    """Decodes a JPEG file to uint8 (C, H, W). TurboLoader ignores Exif and what is missing."""
    if not is_whole_and_upright(data):
        raise RuntimeError("left to Pillow")
    library: Any = import_module("turboloader")
    return torch.from_numpy(library.decode_jpeg(bytes(data))).permute(2, 0, 1)


TURBOLOADER = Library(
    name="turboloader",
    why=(
        "TurboLoader's threads and JPEG decoder, in order; the policy by native's kernels. Its C++ "
        "loaders keep neither order nor square crops."
    ),
    build=build,
    ops=NATIVE.ops,
    plugin_ops="native",
    modes=("compiled", "eager"),
    options=READER_OPTIONS,
    problem=lambda mode, device: missing("turboloader") or NATIVE.problem(mode, device),
    decodes=True,
    install="turboloader",
    reference="https://github.com/ALJainProjects/TurboLoader",
)
