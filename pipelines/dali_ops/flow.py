"""Operators and intermediate images in DALI's two modes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.ops import Op

Size = tuple[int, int]  # (height, width), pixels
Draws = tuple[Tensor, ...]  # inputs of operators, on the CPU, with a row per sample


@dataclass(frozen=True, kw_only=True)
class Operators:
    """DALI's operators, which have the same names in graph mode and in dynamic mode.

    Args:
        fn: `nvidia.dali.fn`, which takes nodes of a graph, or `nvidia.dali.experimental.dynamic`,
            which takes batches and runs at once.
        math: The elementwise functions that go with `fn`.
        types: `nvidia.dali.types`.
        gpu: Whether images are on a GPU.
    """

    fn: Any
    math: Any
    types: Any
    gpu: bool

    def on_device(self, parameters: Any) -> Any:
        """Parameters on the images' device, for arithmetic with images."""
        return parameters.gpu() if self.gpu else parameters


@dataclass(kw_only=True)
class Flow:
    """The images so far: a node of a graph, or a batch in dynamic mode.

    Args:
        images: HWC; uint8 or float32 in 0..255, or normalised.
        dtype: DALI's data type of the batch's images.
        mean: Mean of each channel, in 0..255.
        pad: Pixels by which the source was padded on each side.
        keep: Whether a later op needs images that aren't normalised yet.
    """

    operators: Operators
    images: Any
    size: Size
    mean: list[float]
    std: list[float]
    dtype: Any
    pad: int = 0
    keep: bool = False
    is_uint8: bool = True
    normalised: bool = False

    def normalise(self, **fused: Any) -> None:
        """Normalises and casts, unless that is done; `fused` adds a flip to the same kernel."""
        if self.normalised:
            return
        self.images = self.operators.fn.crop_mirror_normalize(
            self.images,
            mean=self.mean,
            std=self.std,
            dtype=self.dtype,
            output_layout="HWC",
            **fused,
        )
        self.normalised, self.is_uint8 = True, False

    def to_float(self) -> None:
        """Converts bytes to float32, for ops whose results aren't whole numbers."""
        if self.is_uint8:
            types = self.operators.types
            self.images = self.operators.fn.cast(self.images, dtype=types.FLOAT)
            self.is_uint8 = False


@dataclass(frozen=True, kw_only=True)
class DaliOp:
    """An op in DALI.

    Args:
        draw: (op, size, count, generator) to its parameters.
        add: (op, flow, *inputs) applies the op, or adds it to the graph.
        inputs: Number of parameters.
        own: (size, draws) to each image's own share (B,), for ops that mix.
        raw: Whether it needs images that aren't normalised.
    """

    draw: Callable[[Any, Size, int, torch.Generator], Draws]
    add: Callable[..., None]
    inputs: Callable[[Any], int] = lambda op: 1
    own: Callable[[Size, Draws], Tensor] | None = None
    raw: bool = False


def draw_nothing(op: Op, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Never called, as seed and epoch determine the op."""
    raise AssertionError(f"{type(op).__name__} draws nothing")
