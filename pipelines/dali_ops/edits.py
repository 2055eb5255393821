"""Ops that change pixel values or read between pixels; they act on images in 0..255."""

import math
from typing import Any

import torch

from pipelines.dali_ops.flow import Draws, Flow, Operators, Size, Way
from pipelines.native_ops.edits import GREY, TRIES, between, centred_rectangle, first
from pipelines.ops import Affine, ColorJitter, Op, RandomResizedCrop

UNCHANGED = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}  # in this order


def draw_affine(op: Affine, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Matrices from (x, y, 1) of the output to (x, y) of the source: float32 (count, 2, 3).

    Coordinates are DALI's: pixels, the first one's centre at 0.5.
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


def add_affine(op: Affine, flow: Flow, matrix: object) -> None:
    """One bilinear warp."""
    types = flow.operators.types
    flow.images = flow.operators.fn.warp_affine(
        flow.images,
        matrix=matrix,
        fill_value=0.0,
        interp_type=types.INTERP_LINEAR,
        dtype=types.FLOAT,
    )
    flow.whole = False


def draw_resized_crop(
    op: RandomResizedCrop, size: Size, count: int, generator: torch.Generator
) -> Draws:
    """First row and column, and (height, width): int32 (count, 2)."""
    height, width = size
    u_BK = torch.rand(count, 2 * TRIES + 2, generator=generator)
    area = between(u_BK[:, :TRIES], *op.scale) * (height * width)
    ratio = torch.exp(between(u_BK[:, TRIES : 2 * TRIES], *map(math.log, op.ratio)))
    wide, high = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
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
    """A slice, then a resize: a region of interest of `resize` reads what lies around it too."""
    fn, types = flow.operators.fn, flow.operators.types
    part = fn.slice(flow.images, start=start, shape=shape, axis_names="HW")
    flow.images = fn.resize(
        part,
        size=[float(side) for side in flow.size],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
        dtype=types.FLOAT,
    )
    flow.whole = False


def parts(op: ColorJitter) -> list[str]:
    """What a jitter changes, in order."""
    return [name for name, factor in UNCHANGED.items() if getattr(op, name) != (factor, factor)]


def draw_jitter(op: ColorJitter, size: Size, count: int, generator: torch.Generator) -> Draws:
    """A factor for each of its parts, turns for hue: float32 (count,)."""
    u_B4 = torch.rand(count, len(UNCHANGED), generator=generator)
    columns = dict(zip(UNCHANGED, u_B4.unbind(dim=1), strict=True))
    return tuple(between(columns[name], *getattr(op, name)).contiguous() for name in parts(op))


# `saturation` and `hsv` of DALI turn the hue in another colour space and use matrices of three
# digits, which is off by up to a level for each unit of the factor; so here is arithmetic.
def add_jitter(op: ColorJitter, flow: Flow, *factors: Any) -> None:
    """Brightness, contrast, saturation, hue, clamped after each."""
    flow.widen()
    operators, x = flow.operators, flow.images
    for name, given in zip(parts(op), factors, strict=True):
        factor = operators.here(given)
        if name == "brightness":
            x = operators.math.clamp(x * factor, 0.0, 255.0)
        elif name == "hue":
            x = turn_hue(operators, x, factor) if len(flow.mean) == len(GREY) else x
        else:
            mean = operators.fn.reductions.mean
            base = mean(x, axes=[0, 1], keep_dims=True) if name == "contrast" else x
            grey = luminance(operators, base, len(flow.mean))
            x = operators.math.clamp(grey + (x - grey) * factor, 0.0, 255.0)
    flow.images = x


def channel(operators: Operators, x: Any, index: int) -> Any:
    """One channel: (H, W, 1)."""
    return operators.fn.slice(x, start=[index], shape=[1], axes=[2])


def luminance(operators: Operators, x: Any, channels: int) -> Any:
    """The grey image (H, W, 1); images that are grey already are their own."""
    if channels != len(GREY):
        return operators.fn.reductions.mean(x, axes=[2], keep_dims=True)
    red, green, blue = (channel(operators, x, i) * weight for i, weight in enumerate(GREY))
    return red + green + blue


def turn_hue(operators: Operators, x: Any, turns: Any) -> Any:
    """Adds to the hue of HSV; value and saturation stay."""
    fn, math_ = operators.fn, operators.math
    red, green, blue = (channel(operators, x, i) for i in range(3))
    value = math_.max(math_.max(red, green), blue)
    chroma = value - math_.min(math_.min(red, green), blue)
    safe = chroma + (chroma == 0.0)
    is_red = value == red
    is_green = (value == green) * (value != red)
    sixth = (green - blue) / safe * is_red
    sixth = sixth + ((blue - red) / safe + 2.0) * is_green
    sixth = sixth + ((red - green) / safe + 4.0) * ((value != red) * (value != green))
    hue = sixth + turns * 6.0
    # Channel n of HSV to RGB: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6.
    planes = []
    for n in (5.0, 3.0, 1.0):
        k = hue + n
        k = k - math_.floor(k / 6.0) * 6.0
        planes.append(value - chroma * math_.clamp(math_.min(k, 4.0 - k), 0.0, 1.0))
    return fn.cat(*planes, axis=2)


WAYS: dict[type[Op], Way] = {
    ColorJitter: Way(draw=draw_jitter, add=add_jitter, inputs=lambda op: len(parts(op)), raw=True),
    Affine: Way(draw=draw_affine, add=add_affine, raw=True),
    RandomResizedCrop: Way(
        draw=draw_resized_crop, add=add_resized_crop, inputs=lambda op: 2, raw=True
    ),
}
