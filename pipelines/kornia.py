"""Kornia's augmentations on device batches, one after the other: its containers do not compile."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.compiling import compiler_problem
from pipelines.libraries import lack, require
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    HorizontalFlip,
    RandomResizedCrop,
)
from pipelines.randomness import OwnStream

if TYPE_CHECKING:
    from pipelines.kornia_ops.ways import Recipe

EAGER, COMPILED = "eager", "compiled"
OPS = (Crop, HorizontalFlip, AlternatingFlip, Cutout, ColorJitter, Affine, RandomResizedCrop)


class KorniaPipeline(Pipeline):
    """Gathers a batch of uint8 on the device, scales it to [0, 1], and lets Kornia do the rest.

    Kornia takes floats only, is quickest on contiguous images and loses channels_last, so a batch
    is made contiguous before and brought to the run's memory format afterwards.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request, KORNIA.semantics(request.augmentation))
        require("kornia", "pipelines.kornia_ops.ways")
        from pipelines.kornia_ops.ways import augmenter

        self._images_NHWC = request.images.images.to(request.device)
        self._labels_N = request.images.labels.to(request.device)
        self._augment = augmenter(recipe(request))

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        stream = OwnStream(derive_seed(request.seed, "draws", index), request.device)
        flipped_N = flipped(request, index).to(request.device)
        for index_B in self.permutation(index).to(request.device):
            with stream.drawing():
                x_BCHW = self._augment(self._images_NHWC[index_B], flipped_N[index_B])
            yield x_BCHW, self._labels_N[index_B]


def recipe(request: Request) -> "Recipe":
    """The recipe of a request."""
    from pipelines.kornia_ops.ways import Recipe

    return Recipe(
        ops=tuple(request.augmentation.ops),
        image_size=request.images.image_size,
        mean=request.images.mean,
        std=request.images.std,
        device=request.device,
        dtype=request.dtype,
        memory_format=request.memory_format,
        compile=request.mode == COMPILED,
    )


def problem(mode: str, device: str) -> str:
    """Why a mode cannot run on a device type."""
    if absent := lack("kornia"):
        return absent
    lacking = ""
    if mode == COMPILED:  # Kornia draws on the CPU, so its graph has a part in C++ on a GPU too
        lacking = compiler_problem(gpu=False)
        if device == "cuda":
            lacking = lacking or compiler_problem(gpu=True)
    return f"kornia[compiled] needs torch.compile ({lacking}); kornia does not" if lacking else ""


KORNIA = Library(
    name="kornia",
    why="A well-known library of augmentations on device batches, drawn for each sample.",
    build=KorniaPipeline,
    ops=dict.fromkeys(OPS, "per sample"),
    modes=(EAGER, COMPILED),
    problem=problem,
    reference="https://github.com/kornia/kornia",
)
