"""DALI's ops that mix normalised images of a batch, each with its neighbour, as in `native`."""

from typing import Any

import torch
from torch import Tensor

from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Size
from pipelines.native_ops.mixes import beta
from pipelines.ops import CutMix, MixUp, Op, RandomChoice


def partners(count: int) -> Tensor:
    """The image of the batch that each is mixed with: int32 (count,)."""
    return torch.arange(count, dtype=torch.int32).roll(1)


def draw_mix_up(op: MixUp, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Weights float32 (count,), and partners."""
    return beta(op, count, generator), partners(count)


def add_mix_up(op: MixUp, flow: Flow, own: Any, partner: Any) -> None:
    """A weighted mean."""
    flow.normalise()
    own = flow.operators.on_device(own)
    other = flow.operators.fn.permute_batch(flow.images, indices=partner)
    flow.images = other * (1.0 - own) + flow.images * own


def draw_cut_mix(op: CutMix, size: Size, count: int, generator: torch.Generator) -> Draws:
    """Two pastes per sample: its own image, then a rectangle of its partner's.

    Returns:
        Indices of the images int32 (count, 2); first rows and columns int32 (count, 2, 2);
        heights and widths int32 (count, 2, 2).
    """
    size_2 = torch.tensor(size)
    side_B1 = 0.5 * (1.0 - beta(op, count, generator)).sqrt()[:, None]
    centre_B2 = (torch.rand(count, 2, generator=generator) * size_2).floor()
    half_B2 = (side_B1 * size_2).floor()
    start_B2 = (centre_B2 - half_B2).clamp(min=0)
    end_B2 = torch.minimum(centre_B2 + half_B2, size_2)
    ids_B2 = torch.stack([torch.arange(count, dtype=torch.int32), partners(count)], dim=1)
    anchors_B22 = torch.stack([torch.zeros(count, 2), start_B2], dim=1).to(torch.int32)
    shapes_B22 = torch.stack([size_2.expand(count, 2), end_B2 - start_B2], dim=1).to(torch.int32)
    return ids_B2, anchors_B22, shapes_B22


def add_cut_mix(op: CutMix, flow: Flow, ids: object, anchors: object, shapes: object) -> None:
    """Pastes rectangles of the batch's images at their original positions."""
    flow.normalise()
    flow.images = flow.operators.fn.multi_paste(
        flow.images,
        in_ids=ids,
        in_anchors=anchors,
        out_anchors=anchors,
        shapes=shapes,
        output_size=list(flow.size),
    )


def cut_mix_own(size: Size, draws: Draws) -> Tensor:
    """Each image's own share of the area: float32 (B,)."""
    return 1.0 - draws[2][:, 1].prod(dim=1) / (size[0] * size[1])


def draw_choice(op: RandomChoice, size: Size, count: int, generator: torch.Generator) -> Draws:
    """The draws of both ops, each neutral where the other is chosen."""
    own, partner = draw_mix_up(op.mix_up, size, count, generator)
    ids, anchors, shapes = draw_cut_mix(op.cut_mix, size, count, generator)
    blends = torch.rand(count, generator=generator) < op.p
    shapes[blends, 1] = 0
    return torch.where(blends, own, 1.0), partner, ids, anchors, shapes


def add_choice(op: RandomChoice, flow: Flow, own: Any, partner: Any, *pastes: Any) -> None:
    """Pastes, then blends with the other image."""
    flow.normalise()
    own = flow.operators.on_device(own)
    other = flow.operators.fn.permute_batch(flow.images, indices=partner)
    add_cut_mix(op.cut_mix, flow, *pastes)
    flow.images = other * (1.0 - own) + flow.images * own


OPS: dict[type[Op], DaliOp] = {
    MixUp: DaliOp(
        draw=draw_mix_up, add=add_mix_up, inputs=lambda op: 2, own=lambda size, draws: draws[0]
    ),
    RandomChoice: DaliOp(
        draw=draw_choice,
        add=add_choice,
        inputs=lambda op: 5,
        own=lambda size, draws: draws[0] * cut_mix_own(size, draws[2:]),
    ),
    CutMix: DaliOp(draw=draw_cut_mix, add=add_cut_mix, inputs=lambda op: 3, own=cut_mix_own),
}
