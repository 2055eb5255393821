"""DALI's ops that change pixel values or interpolate, on images in 0..255."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Operators, Size
from pipelines.native_ops.edits import GREY, TRIES, between, centred_rectangle, drawn_sides, first
from pipelines.ops import (
    Affine,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    Op,
    RandomResizedCrop,
    Rotation,
    Solarize,
)

# In order of application.
UNCHANGED = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def draw_affine(op: Affine, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Matrices from (x, y, 1) of the output to (x, y) of the source: float32 (count, 2, 3).

    As in DALI, coordinates are pixels, with the first pixel's centre at 0.5.
    """
    height, width = size
    angle, right, down, scale = torch.rand(count, 4, generator=generator).unbind(dim=1)
    angle = between(angle, -op.degrees, op.degrees) * (math.pi / 180)
    scale = between(scale, *op.scale)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    x = width / 2 + between(right, -1, 1) * op.translate * width
    y = height / 2 + between(down, -1, 1) * op.translate * height
    rows = (
        torch.stack([cos, -sin, width / 2 - cos * x + sin * y], dim=1),
        torch.stack([sin, cos, height / 2 - sin * x - cos * y], dim=1),
    )
    return (torch.stack(rows, dim=1),)


def add_affine(op: Affine | Rotation, flow: Flow, matrix: object) -> None:
    """One bilinear warp."""
    types = flow.operators.types
    flow.images = flow.operators.fn.warp_affine(
        flow.images,
        matrix=matrix,
        fill_value=0.0,
        interp_type=types.INTERP_LINEAR,
        dtype=types.FLOAT,
    )
    flow.is_uint8 = False


def draw_done(
    op: Grayscale | Solarize, size: Size, count: int, generator: torch.Generator
) -> Draws:
    """1 for samples to change: float32 (count,)."""
    return ((torch.rand(count, generator=generator) < op.p).to(torch.float32),)


def add_grayscale(op: Grayscale, flow: Flow, done: Any) -> None:
    """The grey image where `done` is 1."""
    flow.to_float()
    operators, channels = flow.operators, len(flow.mean)
    grey = luminance(operators, flow.images, channels, copies=channels)
    done = operators.on_device(done)
    flow.images = grey * done + flow.images * (1.0 - done)


def add_solarize(op: Solarize, flow: Flow, done: Any) -> None:
    """x + (255 - 2 x), where `done` is 1 and x is bright."""
    flow.to_float()
    x = flow.images
    inverted = (x >= 255.0 * op.threshold) * flow.operators.on_device(done)
    flow.images = x + inverted * (255.0 - x * 2.0)


def draw_blur(op: GaussianBlur, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Standard deviations: float32 (count,)."""
    return (between(torch.rand(count, generator=generator), *op.sigma),)


def add_blur(op: GaussianBlur, flow: Flow, sigma: object) -> None:
    """DALI's blur, which reflects at the edges as declared."""
    flow.images = flow.operators.fn.gaussian_blur(
        flow.images, sigma=sigma, window_size=op.kernel, dtype=flow.operators.types.FLOAT
    )
    flow.is_uint8 = False


def draw_resized_crop(
    op: RandomResizedCrop, size: Size, count: int, generator: torch.Generator
) -> Draws:
    """First row and column, and (height, width): int32 (count, 2)."""
    height, width = size
    u_BK = torch.rand(count, 2 * TRIES + 2, generator=generator)
    wide, high = drawn_sides(op, u_BK, height * width)
    fits = (wide >= 1) & (wide <= width) & (high >= 1) & (high <= height)
    spare_wide, spare_high = centred_rectangle(op.ratio, height, width)
    spare = torch.tensor([spare_high, spare_wide])
    found_B1 = fits.any(dim=1, keepdim=True)
    drawn_B2 = torch.stack([first(high, fits), first(wide, fits)], dim=1)
    shape_B2 = torch.where(found_B1, drawn_B2, spare)
    start_B2 = torch.where(
        found_B1,
        (u_BK[:, -2:] * (torch.tensor(size) - shape_B2 + 1)).floor(),
        (torch.tensor(size) - spare) // 2,
    )
    return start_B2.to(torch.int32), shape_B2.to(torch.int32)


def add_resized_crop(op: RandomResizedCrop, flow: Flow, start: object, shape: object) -> None:
    """A slice, then a resize; `resize` alone would also read around its region of interest."""
    fn, types = flow.operators.fn, flow.operators.types
    part = fn.slice(flow.images, start=start, shape=shape, axis_names="HW", dtype=types.FLOAT)
    flow.images = fn.resize(
        part,
        size=[float(side) for side in flow.size],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
        dtype=types.FLOAT,
    )
    flow.is_uint8 = False


def parts(op: ColorJitter) -> list[str]:
    """The parts that a jitter changes, in order."""
    return [name for name, factor in UNCHANGED.items() if getattr(op, name) != (factor, factor)]


def draw_jitter(op: ColorJitter, size: Size, count: int, generator: torch.Generator) -> Draws:
    """A factor for each part, turns for hue: float32 (count,)."""
    u_B4 = torch.rand(count, len(UNCHANGED), generator=generator)
    columns = dict(zip(UNCHANGED, u_B4.unbind(dim=1), strict=True))
    return tuple(between(columns[name], *getattr(op, name)).contiguous() for name in parts(op))


# DALI's `saturation` and `hsv` change the hue in another colour space, with rounded matrices that
# are off by up to one level per unit of the factor; hence arithmetic. `coord_transform` multiplies
# each pixel by a matrix; repeating values in channels by it is faster than broadcasts.
def add_jitter(op: ColorJitter, flow: Flow, *factors: Any) -> None:
    """Brightness, contrast, saturation, hue, clamped after each."""
    flow.to_float()
    operators, x, channels = flow.operators, flow.images, len(flow.mean)
    for name, given in zip(parts(op), factors, strict=True):
        factor = operators.on_device(given)
        if name == "hue":
            x = turn_hue(operators, x, factor)
            continue
        if name == "brightness":
            x = x * factor
        elif name == "contrast":
            mean = operators.fn.reductions.mean(luminance(operators, x, channels, copies=1))
            x = x * factor + mean * (1.0 - factor)
        else:
            grey = luminance(operators, x, channels, copies=channels)
            x = (x - grey) * factor + grey
        x = clamp(operators, x, 255.0)
    flow.images = x


def clamp(operators: Operators, x: Any, high: float) -> Any:
    """Clamps to 0..high; DALI's own `clamp` takes twice as long."""
    return operators.math.min(operators.math.max(x, 0.0), high)


def times(operators: Operators, x: Any, rows: Sequence[Sequence[float]], **offset: Any) -> Any:
    """Multiplies each pixel by a matrix: as many channels as rows. `T` is added to each pixel."""
    return operators.fn.coord_transform(x, M=np.array(rows, np.float32), **offset)


def luminance(operators: Operators, x: Any, channels: int, copies: int) -> Any:
    """The grey image (H, W, copies); one-channel images are unchanged."""
    if channels != len(GREY):
        return operators.fn.reductions.mean(x, axes=[2], keep_dims=True)
    return times(operators, x, [GREY] * copies)


def turn_hue(operators: Operators, x: Any, turns: Any) -> Any:
    """Adds to the hue of HSV, keeping value and saturation. Images (H, W, 3) in 0..255.

    The hue in sixths of a turn is (green - blue) / chroma where red is the largest channel,
    2 + (blue - red) / chroma where green is, 4 + (red - green) / chroma where blue is; if two
    channels are equally large, both formulas agree up to whole turns.
    """
    top, floor = operators.fn.reductions.max, operators.math.floor
    value_1 = top(x, axes=[2], keep_dims=True)
    chroma_1 = value_1 - operators.fn.reductions.min(x, axes=[2], keep_dims=True)
    value, chroma = times(operators, value_1, [[1]] * 3), times(operators, chroma_1, [[1]] * 3)
    # The three candidates, plus 10, so that they exceed the 0 of those that don't apply.
    differences = times(operators, x, [[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    shifted = differences + times(operators, chroma_1, [[10], [12], [14]])
    candidates = shifted / operators.math.max(chroma, 1e-6) * (x == value)
    sixths_1 = top(candidates, axes=[2], keep_dims=True) + turns * 6.0
    # Channel n of HSV to RGB: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + sixths) mod 6.
    moved = [(n - 10.0) / 6 for n in (5.0, 3.0, 1.0)]
    turns_3 = times(operators, sixths_1, [[1 / 6]] * 3, T=moved)
    k = (turns_3 - floor(turns_3)) * 6.0
    return value - chroma * clamp(operators, operators.math.min(k, 4.0 - k), 1.0)


OPS: dict[type[Op], DaliOp] = {
    ColorJitter: DaliOp(
        draw=draw_jitter, add=add_jitter, inputs=lambda op: len(parts(op)), raw=True
    ),
    Affine: DaliOp(draw=draw_affine, add=add_affine, raw=True),
    Rotation: DaliOp(
        draw=lambda op, *given: draw_affine(op.affine, *given), add=add_affine, raw=True
    ),
    Grayscale: DaliOp(draw=draw_done, add=add_grayscale, raw=True),
    Solarize: DaliOp(draw=draw_done, add=add_solarize, raw=True),
    GaussianBlur: DaliOp(draw=draw_blur, add=add_blur, raw=True),
    RandomResizedCrop: DaliOp(
        draw=draw_resized_crop, add=add_resized_crop, inputs=lambda op: 2, raw=True
    ),
}
