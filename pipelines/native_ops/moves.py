"""Ops that move or cover pixels but never change their values, composed into coordinates.

Going from the last op to the first, each function maps where a pixel is to where it comes from.
The source is then read once, at the end, whatever the number of ops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.ops import Crop, Cutout, HorizontalFlip, Op


@dataclass(frozen=True, kw_only=True)
class Paint:
    """How an op fills the pixels that it covers.

    Args:
        mean: With the data's mean, otherwise with black.
        border: Where row or column is covered (padding), otherwise where both are (a rectangle).
    """

    mean: bool
    border: bool


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where each output pixel is read from, and what is painted over it afterwards.

    Args:
        rows_BH: int64, rows of the source.
        columns_BW: int64, columns of the source.
        covers: Covered rows (B, H) and columns (B, W), bool, in the order of painting.
    """

    rows_BH: Tensor
    columns_BW: Tensor
    covers: tuple[tuple[Tensor, Tensor], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Move:
    """How one op type moves or covers pixels.

    Args:
        draws: Uniform numbers in [0, 1) that it takes for each sample.
        trace: From places after the op to places before it, given draws (B, draws).
        paint: How it fills what it covers; None when it covers nothing.
    """

    draws: int
    trace: Callable[..., Places]
    paint: Callable[..., Paint | None] = lambda op: None


def identity(batch: int, height: int, width: int, device: torch.device) -> Places:
    """Every pixel at its own place."""
    return Places(
        rows_BH=torch.arange(height, device=device).expand(batch, -1),
        columns_BW=torch.arange(width, device=device).expand(batch, -1),
    )


def draws_needed(ops: Sequence[Op]) -> int:
    """Uniform draws per sample that the ops take together."""
    return sum(MOVES[type(op)].draws for op in ops)


def trace(ops: Sequence[Op], places: Places, u_BK: Tensor) -> Places:
    """Through all ops, from the last to the first; draws (B, K) are in the order of the ops."""
    end = u_BK.shape[1]
    for op in reversed(ops):
        move = MOVES[type(op)]
        places = move.trace(op, places, u_BK[:, end - move.draws : end])
        end -= move.draws
    return places


def paints(ops: Sequence[Op]) -> list[Paint]:
    """How each of the covers is painted, first to last."""
    found = (MOVES[type(op)].paint(op) for op in ops)
    return [paint for paint in found if paint is not None]


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


def cutout(op: Cutout, places: Places, u_B2: Tensor) -> Places:
    """Covers a square whose corner is uniform over all places where it fits."""
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


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices past an edge, mirrored at it without repeating the edge."""
    last = size - 1
    return last - (last - index.abs()).abs()


MOVES: dict[type[Op], Move] = {
    Crop: Move(
        draws=2,
        trace=crop,
        paint=lambda op: Paint(mean=False, border=True) if op.padding == "zero" else None,
    ),
    HorizontalFlip: Move(draws=1, trace=horizontal_flip),
    Cutout: Move(draws=2, trace=cutout, paint=lambda op: Paint(mean=True, border=False)),
}
