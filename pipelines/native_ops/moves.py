"""Native ops that move or cover pixels without changing values, composed into coordinates.

From the last op to the first, each function maps a pixel's position to its source position. So the
source is read once for any number of ops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True, kw_only=True)
class Paint:
    """How an op fills covered pixels.

    Args:
        mean: Whether with the dataset's mean or with black.
        border: Whether a pixel is covered if its row or column is (padding), or only if both are
            (a rectangle).
    """

    mean: bool
    border: bool


@dataclass(frozen=True, kw_only=True)
class Places:
    """The source position of each output pixel, and whether it is covered.

    Args:
        rows_BH: Source rows, int64.
        columns_BW: Source columns, int64.
        covers: Covered rows (B, H) and columns (B, W), bool, in the order of painting.
    """

    rows_BH: Tensor
    columns_BW: Tensor
    covers: tuple[tuple[Tensor, Tensor], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Move:
    """An op type that moves or covers pixels.

    Args:
        draws: Number of uniform draws in [0, 1) per sample.
        trace: (op, places after it, draws (B, draws)) to places before it.
        paint: How it fills covered pixels; None if it covers none.
    """

    draws: int
    trace: Callable[..., Places]
    paint: Callable[..., Paint | None] = lambda op: None


def identity(batch: int, height: int, width: int, device: torch.device) -> Places:
    """Every pixel at its own position."""
    return Places(
        rows_BH=torch.arange(height, device=device).expand(batch, -1),
        columns_BW=torch.arange(width, device=device).expand(batch, -1),
    )


def trace(ops: Sequence[Op], places: Places, u_BK: Tensor) -> Places:
    """Traces all ops, from the last to the first; draws (B, K) are in the order of the ops."""
    end = u_BK.shape[1]
    for op in reversed(ops):
        move = MOVES[type(op)]
        places = move.trace(op, places, u_BK[:, end - move.draws : end])
        end -= move.draws
    return places


def paints(ops: Sequence[Op]) -> list[Paint]:
    """How each cover is painted, in order."""
    found = (MOVES[type(op)].paint(op) for op in ops)
    return [paint for paint in found if paint is not None]


def covers_of(places: Places) -> list[Tensor]:
    """Covered rows (B, H) and columns (B, W) in turn; compiled float32, which CPUs vectorise."""
    dtype = torch.float32 if torch.compiler.is_compiling() else torch.bool
    return [part.to(dtype) for cover in places.covers for part in cover]


def painted(
    x_BHWC: Tensor, paints: Sequence[Paint], covers: Sequence[Tensor], mean: Tensor | float
) -> Tensor:
    """Images in 0..255 with covers painted.

    Args:
        covers: Rows (B, H) and columns (B, W), or (B, W, C), in turn, as `covers_of` gives them.
        mean: That of all channels, (C,) or (W, C), or of one.
    """
    for paint, rows_BH, columns in zip(paints, covers[::2], covers[1::2], strict=True):
        columns_BWC = columns if columns.ndim == 3 else columns[..., None]
        either = rows_BH[:, :, None, None], columns_BWC[:, None]
        if rows_BH.dtype == torch.bool:
            covered_BHWC = either[0] | either[1] if paint.border else either[0] & either[1]
        else:
            covered_BHWC = either[0] + either[1] > (0.5 if paint.border else 1.5)
        x_BHWC = torch.where(covered_BHWC, mean if paint.mean else 0.0, x_BHWC)
    return x_BHWC


def move(op: Op, x_BHWC: Tensor, u_BK: Tensor, mean: Sequence[float]) -> Tensor:
    """One op on images (B, H, W, C) in 0..255, where it follows an op that edits."""
    batch, height, width = x_BHWC.shape[:3]
    places = trace([op], identity(batch, height, width, x_BHWC.device), u_BK)
    batch_B11 = torch.arange(batch, device=x_BHWC.device)[:, None, None]
    moved = x_BHWC[batch_B11, places.rows_BH[:, :, None], places.columns_BW[:, None, :]]
    covers = covers_of(places)
    planes = [
        painted(moved[..., i : i + 1], paints([op]), covers, mean[i]) for i in range(len(mean))
    ]
    return torch.cat(planes, dim=3)


def crop(op: Crop, places: Places, u_B2: Tensor) -> Places:
    """Shifts by a whole number of pixels in -pad..pad, each equally likely."""
    shift_B2 = (u_B2 * (2 * op.pad + 1)).to(torch.int64) - op.pad
    rows_BH, columns_BW = places.rows_BH + shift_B2[:, :1], places.columns_BW + shift_B2[:, 1:]
    height, width = rows_BH.shape[1], columns_BW.shape[1]
    if op.padding == "reflect":
        return Places(
            rows_BH=_reflected(rows_BH, height),
            columns_BW=_reflected(columns_BW, width),
            covers=places.covers,
        )
    border = (
        (rows_BH < 0) | (rows_BH >= height),
        (columns_BW < 0) | (columns_BW >= width),
    )
    return Places(
        rows_BH=rows_BH.clamp(0, height - 1),
        columns_BW=columns_BW.clamp(0, width - 1),
        covers=(border, *places.covers),
    )


def horizontal_flip(op: HorizontalFlip, places: Places, u_B1: Tensor) -> Places:
    """Mirrors the columns where the draw is below `p`."""
    mirrored_BW = places.columns_BW.shape[1] - 1 - places.columns_BW
    return Places(
        rows_BH=places.rows_BH,
        columns_BW=torch.where(u_B1 < op.p, mirrored_BW, places.columns_BW),
        covers=places.covers,
    )


def vertical_flip(op: VerticalFlip, places: Places, u_B1: Tensor) -> Places:
    """Mirrors the rows where the draw is below `p`."""
    mirrored_BH = places.rows_BH.shape[1] - 1 - places.rows_BH
    return Places(
        rows_BH=torch.where(u_B1 < op.p, mirrored_BH, places.rows_BH),
        columns_BW=places.columns_BW,
        covers=places.covers,
    )


def alternating_flip(op: AlternatingFlip, places: Places, u_B1: Tensor) -> Places:
    """Mirrors the columns where the draw, determined by seed and epoch, is 0."""
    return horizontal_flip(HorizontalFlip(p=0.5), places, u_B1)


def cutout(op: Cutout, places: Places, u_B2: Tensor) -> Places:
    """Covers a square at a uniform position."""
    height, width = places.rows_BH.shape[1], places.columns_BW.shape[1]
    top_B1 = (u_B2[:, :1] * (height - op.size + 1)).to(torch.int64)
    left_B1 = (u_B2[:, 1:] * (width - op.size + 1)).to(torch.int64)
    square = (
        (places.rows_BH >= top_B1) & (places.rows_BH < top_B1 + op.size),
        (places.columns_BW >= left_B1) & (places.columns_BW < left_B1 + op.size),
    )
    return Places(
        rows_BH=places.rows_BH, columns_BW=places.columns_BW, covers=(square, *places.covers)
    )


def random_erasing(op: RandomErasing, places: Places, u_BK: Tensor) -> Places:
    """Covers a rectangle; draws are ten areas, ten ratios, the position, and whether at all."""
    height, width = places.rows_BH.shape[1], places.columns_BW.shape[1]
    high, wide = drawn_sides(op, u_BK, height * width)
    fits = (high < height) & (wide < width)
    done_B1 = fits.any(dim=1, keepdim=True) & (u_BK[:, -1:] < op.p)
    high_B1, wide_B1 = first(high, fits)[:, None], first(wide, fits)[:, None]
    top_B1 = (u_BK[:, -3:-2] * (height - high_B1 + 1)).floor()
    left_B1 = (u_BK[:, -2:-1] * (width - wide_B1 + 1)).floor()
    rectangle = (
        (places.rows_BH >= top_B1) & (places.rows_BH < top_B1 + high_B1) & done_B1,
        (places.columns_BW >= left_B1) & (places.columns_BW < left_B1 + wide_B1) & done_B1,
    )
    return Places(
        rows_BH=places.rows_BH, columns_BW=places.columns_BW, covers=(rectangle, *places.covers)
    )


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices beyond an edge, mirrored at it without repeating the edge."""
    last = size - 1
    return last - (last - index.abs()).abs()


MOVES: dict[type[Op], Move] = {
    Crop: Move(
        draws=2,
        trace=crop,
        paint=lambda op: Paint(mean=False, border=True) if op.padding == "zero" else None,
    ),
    HorizontalFlip: Move(draws=1, trace=horizontal_flip),
    VerticalFlip: Move(draws=1, trace=vertical_flip),
    AlternatingFlip: Move(draws=1, trace=alternating_flip),
    RandomErasing: Move(
        draws=2 * TRIES + 3,
        trace=random_erasing,
        paint=lambda op: Paint(mean=True, border=False),
    ),
    Cutout: Move(draws=2, trace=cutout, paint=lambda op: Paint(mean=True, border=False)),
}
