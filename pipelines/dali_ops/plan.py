"""The order of a policy's ops in DALI, and their draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipelines.base import Request
from pipelines.dali_ops import edits, mixes, moves, own
from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Operators
from pipelines.ops import (
    AlternatingFlip,
    ColorJitter,
    Crop,
    Cutout,
    HorizontalFlip,
    Op,
    implementation_of,
)
from pipelines.sources.base import Images

# Without those of `own`, which DALI defines differently.
OPS: dict[type[Op], DaliOp] = {**moves.OPS, **edits.OPS, **mixes.OPS}
FLIPS = (HorizontalFlip, AlternatingFlip)
DTYPES = {torch.float32: "FLOAT", torch.float16: "FLOAT16"}


def dali_op(op: Op) -> DaliOp:
    """An op in DALI; a plugin's op brings its own."""
    return implementation_of(op, OPS | own.OPS, "dali")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A policy's implementation in DALI.

    Args:
        ops: In the policy's order, which is also the order of draws.
        swapped: Whether the first two ops, a flip and a crop, are applied in reverse order.
        pad: Pixels by which the source is padded, once.
        size: (height, width) of the batch's images.
        mean: Mean of each channel, in 0..255.
        dtype: DALI's name of the data type of the batch's images.
    """

    ops: tuple[Op, ...]
    swapped: bool
    pad: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str

    def ordered_ops(self) -> tuple[Op, ...]:
        """The ops in the order of application."""
        return (self.ops[1], self.ops[0], *self.ops[2:]) if self.swapped else self.ops

    @property
    def conditional(self) -> bool:
        """Whether the samples of a batch go through different operators."""
        return any(type(op) in own.OPS for op in self.ops)

    def inputs(self) -> int:
        """Number of parameters of all ops."""
        return sum(dali_op(op).inputs(op) for op in self.ops)

    def draw(
        self, generator: torch.Generator, flipped_B: Tensor
    ) -> tuple[list[Tensor], Tensor | None]:
        """Parameters of a batch.

        Args:
            generator: A CPU generator.
            flipped_B: Mask int32 (B,) of the images that an alternating flip mirrors.

        Returns:
            The inputs of `run_ops`; and each image's own share (B,) if an op mixes.
        """
        drawn: list[Draws] = []
        for op in self.ops:
            if isinstance(op, AlternatingFlip):
                drawn.append((flipped_B,))
            else:
                drawn.append(dali_op(op).draw(op, self.size, len(flipped_B), generator))
        share_of = dali_op(self.ops[-1]).own if self.ops else None
        share_B = share_of(self.size, drawn[-1]) if share_of is not None else None
        if self.swapped:
            (mirror_B,), (start_B2,) = drawn[0], drawn[1]
            start_B2[:, 1] *= 1 - 2 * mirror_B
            drawn[:2] = drawn[1], drawn[0]
        if self.pad:
            drawn[0][0].add_(self.pad)
        return [draw for draws in drawn for draw in draws], share_B


def make_plan(request: Request) -> Plan:
    """The plan of a request.

    Raises:
        ValueError: An op does not fit the images.
    """
    images = request.images
    ops = tuple(adapted(op, images) for op in request.augmentation.ops)
    # Cropping bytes is faster than cropping floats, and the flip then shares the kernel that
    # normalises.
    swapped = len(ops) > 1 and isinstance(ops[0], FLIPS) and isinstance(ops[1], Crop)
    crop = ops[1] if swapped else ops[0] if ops else None
    padded = isinstance(crop, Crop) and not images.files
    mixing = bool(ops) and type(ops[-1]) in mixes.OPS
    return Plan(
        ops=ops,
        swapped=swapped,
        pad=crop.pad if padded and isinstance(crop, Crop) else 0,
        size=images.image_size,
        mean=tuple(255.0 * value for value in images.mean),
        std=tuple(255.0 * value for value in images.std),
        dtype="FLOAT" if mixing else DTYPES.get(request.dtype, "FLOAT"),
    )


def adapted(op: Op, images: Images) -> Op:
    """The op for these images; one channel has no hue.

    Raises:
        ValueError: It needs larger images.
    """
    if isinstance(op, Cutout) and op.size > min(images.image_size):
        raise ValueError(f"Cutout of {op.size} pixels does not fit images of {images.image_size}")
    if isinstance(op, ColorJitter) and len(images.mean) != 3:
        return replace(op, hue=(0.0, 0.0))
    return op


def run_ops(plan: Plan, operators: Operators, images: Any, inputs: Sequence[Any]) -> Any:
    """Applies all ops and the normalisation to uint8 images HWC, or adds them to the graph.

    Args:
        inputs: From `Plan.draw`.
    """
    from nvidia.dali import pipeline

    flow = Flow(
        operators=operators,
        images=images,
        size=plan.size,
        mean=list(plan.mean),
        std=list(plan.std),
        dtype=getattr(operators.types, plan.dtype),
        pad=plan.pad,
    )
    ops = plan.ordered_ops()
    raw = max((i for i, op in enumerate(ops) if dali_op(op).raw), default=-1)
    given = iter(inputs)
    for index, op in enumerate(ops):
        flow.keep = index < raw
        entry = dali_op(op)
        # DALI must rewrite its own policies, in which samples take different ops, but not ours.
        add = entry.add if type(op) in own.OPS else pipeline.do_not_convert(entry.add)
        add(op, flow, *(next(given) for _ in range(entry.inputs(op))))
    flow.normalise()
    return flow.images
