"""DALI's ops that move or cover pixels."""

import torch

from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Size, draw_nothing
from pipelines.native_ops.edits import TRIES, drawn_sides, first
from pipelines.ops import (
    AlternatingFlip,
    Crop,
    Cutout,
    HorizontalFlip,
    Op,
    RandomErasing,
    VerticalFlip,
)


def draw_crop(op: Crop, size: Size, count: int, generator: torch.Generator) -> Draws:
    """First row and column of the crop, relative to the image: int32 (count, 2) in -pad..pad."""
    high = 2 * op.pad + 1
    offset_B2 = torch.randint(0, high, (count, 2), generator=generator, dtype=torch.int32)
    return (offset_B2 - op.pad,)


def add_crop(op: Crop, flow: Flow, start: object) -> None:
    """A slice of the padded source, or one that reads beyond the edges."""
    black = [-m / s for m, s in zip(flow.mean, flow.std, strict=True)]
    beyond = {
        "out_of_bounds_policy": "reflect_101" if op.padding == "reflect" else "pad",
        "fill_values": black if flow.normalised else 0,
    }
    flow.images = flow.operators.fn.slice(
        flow.images,
        start=start,
        shape=list(flow.size),
        axis_names="HW",
        **({} if flow.pad else beyond),
    )
    flow.pad = 0


def draw_flip(
    op: HorizontalFlip | VerticalFlip, size: Size, count: int, generator: torch.Generator
) -> Draws:
    """1 for samples to mirror: int32 (count,)."""
    return ((torch.rand(count, generator=generator) < op.p).to(torch.int32),)


def add_flip(op: HorizontalFlip | AlternatingFlip, flow: Flow, mirror: object) -> None:
    """Mirrors, normalising in the same kernel if that comes next."""
    if flow.normalised or flow.keep:
        flow.images = flow.operators.fn.flip(flow.images, horizontal=mirror, vertical=0)
    else:
        flow.normalise(mirror=mirror)


def add_vertical_flip(op: VerticalFlip, flow: Flow, mirror: object) -> None:
    """Mirrors top to bottom."""
    flow.images = flow.operators.fn.flip(flow.images, horizontal=0, vertical=mirror)


def draw_cutout(op: Cutout, size: Size, count: int, generator: torch.Generator) -> Draws:
    """First row and column of the square: float32 (count, 2) of whole numbers."""
    positions = torch.tensor(size) - op.size + 1
    return ((torch.rand(count, 2, generator=generator) * positions).floor(),)


def add_cutout(op: Cutout, flow: Flow, anchor: object) -> None:
    """Erases a square."""
    erase(op, flow, anchor, [float(op.size)] * 2)


def draw_erasing(op: RandomErasing, size: Size, count: int, generator: torch.Generator) -> Draws:
    """First row and column, and (height, width), 0 where nothing is erased: float32 (count, 2)."""
    height, width = size
    u_BK = torch.rand(count, 2 * TRIES + 3, generator=generator)
    high, wide = drawn_sides(op, u_BK, height * width)
    fits = (high < height) & (wide < width)
    done_B1 = fits.any(dim=1, keepdim=True) & (u_BK[:, -1:] < op.p)
    shape_B2 = torch.stack([first(high, fits), first(wide, fits)], dim=1) * done_B1
    return (u_BK[:, -3:-1] * (torch.tensor(size) - shape_B2 + 1)).floor(), shape_B2


def erase(op: Cutout | RandomErasing, flow: Flow, anchor: object, shape: object) -> None:
    """Sets rectangles to the mean, which is zero if the images may be normalised before."""
    if flow.keep:
        flow.to_float()
    else:
        flow.normalise()
    flow.images = flow.operators.fn.erase(
        flow.images,
        anchor=anchor,
        shape=shape,
        axis_names="HW",
        fill_value=0.0 if flow.normalised else flow.mean,
    )


OPS: dict[type[Op], DaliOp] = {
    Crop: DaliOp(draw=draw_crop, add=add_crop),
    HorizontalFlip: DaliOp(draw=draw_flip, add=add_flip),
    VerticalFlip: DaliOp(draw=draw_flip, add=add_vertical_flip),
    AlternatingFlip: DaliOp(draw=draw_nothing, add=add_flip),
    Cutout: DaliOp(draw=draw_cutout, add=add_cutout),
    RandomErasing: DaliOp(draw=draw_erasing, add=erase, inputs=lambda op: 2),
}
