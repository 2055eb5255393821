"""Tensor operations on the training device: no data loader, one gather, everything fused."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed
from pipelines.compiling import compiled, compiler_problem
from pipelines.native_ops import moves
from pipelines.ops import Op

COMPILED, EAGER = "compiled", "eager"


@dataclass(frozen=True, kw_only=True)
class Program:
    """All that the kernels of a policy depend on; equal programs share them.

    Args:
        ops: The policy.
        height: Of the images, pixels.
        width: Likewise.
        mean: Of each channel, in 0..255.
        std: Likewise.
        dtype: Of the images delivered.
        channels_last: Their memory format, otherwise contiguous.
        compile: Whether the kernels are compiled.
    """

    ops: tuple[Op, ...]
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype
    channels_last: bool
    compile: bool


class NativePipeline(Pipeline):
    """Reads the source where it lies on the device; nothing of it is copied but the batch."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, NATIVE.semantics(request.augmentation))
        self._images_NHWC = request.images.images.to(request.device).contiguous()
        self._labels_N = request.images.labels.to(request.device)
        self._program = program(request)

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        order = self.permutation(index).to(request.device)
        generator = torch.Generator(request.device)
        generator.manual_seed(derive_seed(request.seed, "draws", index))
        draws = moves.draws_needed(self._program.ops)
        locate, render = kernels(self._program)
        for index_B in order:
            u_BK = torch.rand(len(index_B), draws, generator=generator, device=request.device)
            yield (
                render(self._images_NHWC, *locate(index_B, u_BK)),
                self._labels_N[index_B],
            )


def program(request: Request) -> Program:
    """The program of a request."""
    height, width = request.images.image_size
    return Program(
        ops=tuple(request.augmentation.ops),
        height=height,
        width=width,
        mean=tuple(255.0 * value for value in request.images.mean),
        std=tuple(255.0 * value for value in request.images.std),
        dtype=request.dtype,
        channels_last=request.memory_format == torch.channels_last,
        compile=request.mode == COMPILED,
    )


@cache
def kernels(program: Program) -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Tensor]]:
    """The functions that carry out a program.

    `locate(index_B, u_BK)` gives flat offsets of rows and columns and what is covered.
    `render(source_NHWC, *located)` gives images (B, C, H, W). They are two graphs so that an
    offset is computed once a row and once a column, not once a pixel.
    """
    channels = len(program.mean)
    paints = moves.paints(program.ops)

    def locate(index_B: Tensor, u_BK: Tensor) -> tuple[Tensor, ...]:
        start = moves.identity(len(index_B), program.height, program.width, index_B.device)
        places = moves.trace(program.ops, start, u_BK)
        rows_BH = index_B[:, None] * program.height + places.rows_BH
        covers = [part for cover in places.covers for part in cover]
        return rows_BH * (program.width * channels), places.columns_BW * channels, *covers

    def render(source_NHWC: Tensor, row_BH: Tensor, column_BW: Tensor, *covers: Tensor) -> Tensor:
        source = source_NHWC.view(-1)
        pixel_BHW = row_BH[:, :, None] + column_BW[:, None, :]
        planes = []
        for channel in range(channels):  # apart, so that each is a vectorised gather
            mean, std = program.mean[channel], program.std[channel]
            x_BHW = (source[pixel_BHW + channel].to(torch.float32) - mean) / std
            for paint, rows_BH, columns_BW in zip(paints, covers[::2], covers[1::2], strict=True):
                either = rows_BH[:, :, None], columns_BW[:, None, :]
                covered_BHW = either[0] | either[1] if paint.border else either[0] & either[1]
                x_BHW = torch.where(covered_BHW, 0.0 if paint.mean else -mean / std, x_BHW)
            planes.append(x_BHW.to(program.dtype))
        if program.channels_last:
            return torch.stack(planes, dim=-1).permute(0, 3, 1, 2)
        return torch.stack(planes, dim=1)

    return (compiled(locate), compiled(render)) if program.compile else (locate, render)


def problem(mode: str, device: str) -> str:
    """Why a mode cannot run on a device type."""
    lacking = compiler_problem(gpu=device == "cuda") if mode == COMPILED else ""
    return f"native needs torch.compile ({lacking}); native[eager] does not" if lacking else ""


NATIVE = Library(
    name="native",
    why="Plain tensor operations on the device: one compiled gather reads, augments, normalises.",
    build=NativePipeline,
    ops=dict.fromkeys(moves.MOVES, "per sample"),
    modes=(COMPILED, EAGER),
    problem=problem,
    reference="https://github.com/KellerJordan/cifar10-airbench (the idea; here as one gather)",
)
