"""Images on their way through DALI's operators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.ops import Op

Size = tuple[int, int]  # (height, width), pixels
Draws = tuple[Tensor, ...]  # an input of an operator each, on the CPU, with a row a sample


@dataclass(frozen=True, kw_only=True)
class Operators:
    """DALI's operators, which graphs and dynamic mode have under the same names.

    Args:
        fn: `nvidia.dali.fn`, which takes nodes of a graph, or `nvidia.dali.experimental.dynamic`,
            which takes batches and carries out at once.
        math: Its functions that act on each element.
        types: `nvidia.dali.types`, the same for both.
        gpu: Whether images are on a GPU.
    """

    fn: Any
    math: Any
    types: Any
    gpu: bool

    def here(self, parameters: Any) -> Any:
        """Parameters where the images are, for arithmetic with them."""
        return parameters.gpu() if self.gpu else parameters

    def constant(self, rows: Sequence[Sequence[float]]) -> Any:
        """A matrix that is the same for all samples, as an argument."""
        return np.array(rows, np.float32)


@dataclass(kw_only=True)
class Flow:
    """The images so far: a node of a graph, or a batch in dynamic mode.

    Args:
        operators: What can be done with them.
        images: HWC; uint8 or float32 in 0..255, or normalised.
        size: Of what is delivered.
        mean: Of each channel, in 0..255.
        std: Likewise.
        dtype: DALI's type of what is delivered.
        pad: Pixels by which the source was padded on each side.
        keep: Whether an op to come needs images that are not normalised.
        whole: Whether images are still uint8.
        normalised: Whether they are normalised.
    """

    operators: Operators
    images: Any
    size: Size
    mean: list[float]
    std: list[float]
    dtype: Any
    pad: int = 0
    keep: bool = False
    whole: bool = True
    normalised: bool = False

    def normalise(self, **fused: Any) -> None:
        """Normalises and casts, in one kernel with the flip that `fused` may hold."""
        self.images = self.operators.fn.crop_mirror_normalize(
            self.images,
            mean=self.mean,
            std=self.std,
            dtype=self.dtype,
            output_layout="HWC",
            **fused,
        )
        self.normalised, self.whole = True, False

    def widen(self) -> None:
        """Makes bytes float32: what is no whole number must stay so between ops."""
        if self.whole:
            types = self.operators.types
            self.images = self.operators.fn.cast(self.images, dtype=types.FLOAT)
            self.whole = False


@dataclass(frozen=True, kw_only=True)
class Way:
    """How DALI does one op.

    Args:
        draw: (op, size, count, generator) to its parameters.
        add: (op, flow, *inputs); does the op, or adds it to the graph.
        inputs: Parameters that it takes.
        own: For ops that mix: (size, draws) to the share (B,) of each image that is its own.
        raw: Whether it needs images that are not normalised.
    """

    draw: Callable[[Any, Size, int, torch.Generator], Draws]
    add: Callable[..., None]
    inputs: Callable[[Any], int] = lambda op: 1
    own: Callable[[Size, Draws], Tensor] | None = None
    raw: bool = False


def draw_nothing(op: Op, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Never called: seed and epoch decide."""
    raise AssertionError(f"{type(op).__name__} draws nothing")
