"""Native ops that change pixel values or interpolate, on float images in 0..255."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.ops import (
    Affine,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    Op,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
)

GREY = (0.2989, 0.587, 0.114)  # torchvision's weights
TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An op type that changes pixel values.

    Args:
        draws: Number of uniform draws in [0, 1) per sample, or a function of the op.
        apply: (op, images (B, H, W, C) float32 in 0..255, draws (B, draws)) to images; the table
            comes last if there is one.
        table: (op, (height, width, channels)) to a lookup table, made once.
        places: For an op that interpolates between pixels, in rows and columns: (op, height, width,
            draws) to their source rows (B, H) and columns (B, W), float32 and inside the image.
    """

    draws: int | Callable[..., int]
    apply: Callable[..., Tensor]
    table: Callable[..., Tensor] | None = None
    places: Callable[..., tuple[Tensor, Tensor]] | None = None


def between(u: Tensor, low: float, high: float) -> Tensor:
    """Maps uniform draws in [0, 1) to [low, high)."""
    return low + u * (high - low)


def grey(x_BHWC: Tensor) -> Tensor:
    """Luminance (B, H, W, 1); one-channel images are unchanged."""
    if x_BHWC.shape[3] != len(GREY):
        return x_BHWC.mean(dim=3, keepdim=True)
    red, green, blue = (weight * x_BHWC[..., i] for i, weight in enumerate(GREY))
    return (red + green + blue)[..., None]


def blend(x_BHWC: Tensor, towards: Tensor, factor_B111: Tensor) -> Tensor:
    """Interpolates from `towards` (factor 0) to the image (1) and beyond, clamped to 0..255."""
    return (towards + factor_B111 * (x_BHWC - towards)).clamp(0.0, 255.0)


def color_jitter(op: ColorJitter, x_BHWC: Tensor, u_B4: Tensor) -> Tensor:
    """Brightness, contrast, saturation, hue."""
    factors = u_B4[:, :, None, None, None].unbind(dim=1)
    if op.brightness != (1.0, 1.0):
        factor = between(factors[0], *op.brightness)
        x_BHWC = blend(x_BHWC, torch.zeros_like(x_BHWC), factor)
    if op.contrast != (1.0, 1.0):
        mean_B111 = grey(x_BHWC).mean(dim=(1, 2, 3), keepdim=True)
        x_BHWC = blend(x_BHWC, mean_B111, between(factors[1], *op.contrast))
    if op.saturation != (1.0, 1.0):
        x_BHWC = blend(x_BHWC, grey(x_BHWC), between(factors[2], *op.saturation))
    if op.hue != (0.0, 0.0) and x_BHWC.shape[3] == 3:
        x_BHWC = turn_hue(x_BHWC, between(factors[3][..., 0], *op.hue))
    return x_BHWC


def turn_hue(x_BHWC: Tensor, turns_B11: Tensor) -> Tensor:
    """Adds to the hue of HSV, keeping value and saturation."""
    red, green, blue = x_BHWC.unbind(dim=3)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    hue = sixth / 6.0 + turns_B11
    # Channel n of HSV to RGB: value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6.
    planes = []
    for n in (5.0, 3.0, 1.0):
        k = torch.remainder(n + 6.0 * hue, 6.0)
        planes.append(value - chroma * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
    return torch.stack(planes, dim=3)


def bilinear(x_BHWC: Tensor, rows: Tensor, columns: Tensor, *, black_outside: bool) -> Tensor:
    """Interpolates images at float rows and columns that broadcast to (B, H, W).

    Pixels outside are black; without `black_outside`, all coordinates must be inside.
    """
    height, width = x_BHWC.shape[1:3]
    planes = x_BHWC.permute(0, 3, 1, 2).flatten(2).unbind(dim=1)
    totals = [torch.zeros((), device=x_BHWC.device) for _ in planes]
    top, left = rows.floor(), columns.floor()
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            weight = (1.0 - (rows - row).abs()) * (1.0 - (columns - column).abs())
            if black_outside:
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                weight = torch.where(inside, weight, 0.0)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index_BN = index.to(torch.int64).flatten(1)
            for channel, plane_BN in enumerate(planes):  # per channel, to compute the index once
                found_BHW = plane_BN.gather(1, index_BN).view(x_BHWC.shape[:3])
                totals[channel] = totals[channel] + found_BHW * weight
    return torch.stack(totals, dim=1).permute(0, 2, 3, 1)


def neighbours(places: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The indices around float positions in 0..size - 1, and the distance from the first."""
    before = places.floor()
    index = before.to(torch.int64)
    return index, (index + 1).clamp(max=size - 1), places - before


def centred(size: int, device: torch.device) -> Tensor:
    """Pixel centres relative to the image's centre: float32 (size,)."""
    return torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2


def affine(op: Affine, x_BHWC: Tensor, u_B4: Tensor) -> Tensor:
    """Rotates, scales and moves, by mapping each output pixel back to its source."""
    height, width = x_BHWC.shape[1:3]
    angle, right, down, scale = u_B4[:, :, None, None].unbind(dim=1)
    angle = between(angle, -op.degrees, op.degrees) * (math.pi / 180)
    scale = between(scale, *op.scale)
    y = centred(height, x_BHWC.device)[:, None] - between(down, -1, 1) * op.translate * height
    x = centred(width, x_BHWC.device)[None, :] - between(right, -1, 1) * op.translate * width
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = sin * x + cos * y + (height - 1) / 2
    columns = cos * x - sin * y + (width - 1) / 2
    return bilinear(x_BHWC, rows, columns, black_outside=True)


def grayscale(op: Grayscale, x_BHWC: Tensor, u_B1: Tensor) -> Tensor:
    """Grey images where the draw is below `p`."""
    return torch.where(u_B1[:, :, None, None] < op.p, grey(x_BHWC), x_BHWC)


def solarize(op: Solarize, x_BHWC: Tensor, u_B1: Tensor) -> Tensor:
    """Inverts bright values where the draw is below `p`."""
    inverted = (x_BHWC >= 255.0 * op.threshold) & (u_B1[:, :, None, None] < op.p)
    return torch.where(inverted, 255.0 - x_BHWC, x_BHWC)


def gaussian_blur(op: GaussianBlur, x_BHWC: Tensor, u_B1: Tensor) -> Tensor:
    """One pass along the rows and one along the columns."""
    half = op.kernel // 2
    steps = torch.arange(-half, half + 1, device=x_BHWC.device)
    weight_BK = torch.exp(-0.5 * (steps / between(u_B1, *op.sigma)) ** 2)
    weight_BK = weight_BK / weight_BK.sum(dim=1, keepdim=True)
    x_BCHW = functional.pad(x_BHWC.permute(0, 3, 1, 2), (half,) * 4, mode="reflect")
    for axis in (2, 3):
        size = x_BCHW.shape[axis] - 2 * half
        shifted = [x_BCHW.narrow(axis, start, size) for start in range(op.kernel)]
        weights = weight_BK[:, :, None, None, None].unbind(dim=1)
        x_BCHW = torch.stack([w * x for w, x in zip(weights, shifted, strict=True)]).sum(dim=0)
    return x_BCHW.permute(0, 2, 3, 1)


def random_resized_crop(op: RandomResizedCrop, x_BHWC: Tensor, u_BK: Tensor) -> Tensor:
    """Crops and resizes."""
    height, width = x_BHWC.shape[1:3]
    rows_BH, columns_BW = resized_rectangle(op, height, width, u_BK)
    rows, columns = rows_BH[:, :, None], columns_BW[:, None, :]
    return bilinear(x_BHWC, rows, columns, black_outside=False)


def resized_rectangle(
    op: RandomResizedCrop, height: int, width: int, u_BK: Tensor
) -> tuple[Tensor, Tensor]:
    """Source rows (B, H) and columns (B, W); draws are ten areas, ten ratios, and the position."""
    wide, high = drawn_sides(op, u_BK, height * width)
    fits = (wide >= 1) & (wide <= width) & (high >= 1) & (high <= height)
    spare_wide, spare_high = centred_rectangle(op.ratio, height, width)
    found_B = fits.any(dim=1)
    w_B = torch.where(found_B, first(wide, fits), spare_wide)
    h_B = torch.where(found_B, first(high, fits), spare_high)
    top_B = torch.where(
        found_B, (u_BK[:, -2] * (height - h_B + 1)).floor(), float((height - spare_high) // 2)
    )
    left_B = torch.where(
        found_B, (u_BK[:, -1] * (width - w_B + 1)).floor(), float((width - spare_wide) // 2)
    )
    return resized(height, h_B, top_B), resized(width, w_B, left_B)


def drawn_sides(
    op: RandomErasing | RandomResizedCrop, u_BK: Tensor, pixels: int
) -> tuple[Tensor, Tensor]:
    """Sides (B, TRIES) of the attempted rectangles, from ten areas and ten ratios of the two."""
    area = between(u_BK[:, :TRIES], *op.scale) * pixels
    ratio = torch.exp(between(u_BK[:, TRIES : 2 * TRIES], *map(math.log, op.ratio)))
    return (area * ratio).sqrt().round(), (area / ratio).sqrt().round()


def first(values_BT: Tensor, fits_BT: Tensor) -> Tensor:
    """The value of the first attempt that fits: (B,)."""
    index_B1 = fits_BT.to(torch.int8).argmax(dim=1, keepdim=True)
    return values_BT.gather(1, index_B1)[:, 0]


def centred_rectangle(ratio: tuple[float, float], height: int, width: int) -> tuple[int, int]:
    """(width, height) of the largest rectangle with an allowed aspect ratio."""
    if width / height < ratio[0]:
        return width, round(width / ratio[0])
    if width / height > ratio[1]:
        return round(height * ratio[1]), height
    return width, height


def resized(size: int, part_B: Tensor, start_B: Tensor) -> Tensor:
    """Source coordinates (B, size) for resizing `part` pixels, beginning at `start`, to `size`."""
    steps = torch.arange(size, device=part_B.device) + 0.5
    inside = steps[None, :] * (part_B[:, None] / size) - 0.5
    return torch.minimum(inside.clamp(min=0.0), part_B[:, None] - 1) + start_B[:, None]


EDITS: dict[type[Op], Edit] = {
    ColorJitter: Edit(draws=4, apply=color_jitter),
    Affine: Edit(draws=4, apply=affine),
    Rotation: Edit(draws=4, apply=lambda op, x_BHWC, u_B4: affine(op.affine, x_BHWC, u_B4)),
    Grayscale: Edit(draws=1, apply=grayscale),
    Solarize: Edit(draws=1, apply=solarize),
    GaussianBlur: Edit(draws=1, apply=gaussian_blur),
    RandomResizedCrop: Edit(
        draws=2 * TRIES + 2, apply=random_resized_crop, places=resized_rectangle
    ),
}
