"""The native automatic policies: each sample has its own op, in one pass without branches.

A step is a warp, a blend, a curve and a lookup, of which at most one changes a sample. So its cost
doesn't depend on the chosen ops, and the host never waits for the choice.
Pixels equal those of torchvision's operators on uint8 images, so sums are rounded where it rounds.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.native_ops import spaces
from pipelines.native_ops.edits import GREY, Edit
from pipelines.ops import AutoAugment, Op, RandAugment, TrivialAugment

LEVELS = 256
# torch rounds scalars to float32; float64 arithmetic must start from the same numbers.
GREEN, BLUE = torch.tensor(GREY[1:]).tolist()


def planes(x_BHWC: Tensor) -> Tensor:
    """Whole numbers 0..255, converted as torchvision converts floats to uint8: (B, C, H, W).

    Separate channels are contiguous for reductions and lookups.
    """
    whole_BHWC = (x_BHWC * (255.999 / 255.0)).floor().clamp(0.0, 255.0)
    return whole_BHWC.permute(0, 3, 1, 2).contiguous()


def rand_augment(op: RandAugment, x_BHWC: Tensor, u_BK: Tensor, table_RF: Tensor) -> Tensor:
    """The draws are op and sign, `n` times."""
    x_BCHW = planes(x_BHWC)
    for index in range(op.n):
        op_B, sign_B = pick(u_BK[:, 2 * index], len(spaces.OPS)), pick(u_BK[:, 2 * index + 1], 2)
        x_BCHW = step(x_BCHW, table_RF[2 * op_B + sign_B])
    return x_BCHW.permute(0, 2, 3, 1)


def trivial_augment(op: TrivialAugment, x_BHWC: Tensor, u_B3: Tensor, table_RF: Tensor) -> Tensor:
    """The draws are op, magnitude and sign."""
    op_B, bin_B = pick(u_B3[:, 0], len(spaces.OPS)), pick(u_B3[:, 1], op.bins)
    row_B = 2 * (op.bins * op_B + bin_B) + pick(u_B3[:, 2], 2)
    return step(planes(x_BHWC), table_RF[row_B]).permute(0, 2, 3, 1)


def auto_augment(op: AutoAugment, x_BHWC: Tensor, u_B5: Tensor, tables_2RF: Tensor) -> Tensor:
    """The draws are the pair, then whether each of its ops is applied and with which sign."""
    x_BCHW = planes(x_BHWC)
    pair_B = pick(u_B5[:, 0], len(spaces.CIFAR10))
    neutral_F = tables_2RF[0, -1, 1:]
    for index, table_RF in enumerate(tables_2RF.unbind(dim=0)):
        row_BF = table_RF[2 * pair_B + pick(u_B5[:, 2 * index + 2], 2)]
        done_B1 = u_B5[:, 2 * index + 1, None] < row_BF[:, :1]
        x_BCHW = step(x_BCHW, torch.where(done_B1, row_BF[:, 1:], neutral_F))
    return x_BCHW.permute(0, 2, 3, 1)


def pick(u_B: Tensor, count: int) -> Tensor:
    """Maps uniform draws in [0, 1) to int64 0..count - 1, equally likely."""
    return (u_B * count).to(torch.int64)


def step(x_BCHW: Tensor, row_BF: Tensor) -> Tensor:
    """Applies one op per sample to whole numbers 0..255; fields are those of `spaces.Row`."""
    settings_FB111 = row_BF[:, 6:, None, None, None].unbind(dim=1)
    factor, weight, towards, bits, threshold, histogram = settings_FB111
    # No sample is both warped and blended, so the blended image needs no warp.
    other = torch.where(towards == spaces.MEAN, grey_mean(x_BCHW), 0.0)
    other = torch.where(towards == spaces.GREY, grey(x_BCHW), other)
    other = torch.where(towards == spaces.SMOOTH, smoothing(x_BCHW), other)
    y_BCHW = warped(x_BCHW, row_BF[:, :6])
    y_BCHW = rounded_once(other, weight, y_BCHW * factor).clamp(0.0, 255.0).floor()
    y_BCHW = (y_BCHW.to(torch.int32) & bits.to(torch.int32)).to(torch.float32)
    y_BCHW = torch.where(y_BCHW >= threshold, 255.0 - y_BCHW, y_BCHW)
    y_BCHW = torch.where(histogram == spaces.STRETCH, stretched(x_BCHW), y_BCHW)
    return torch.where(histogram == spaces.EQUALIZE, equalized(x_BCHW), y_BCHW)


def rounded_once(x: Tensor, y: Tensor | float, z: Tensor) -> Tensor:
    """x * y + z in float32, rounded once, as fused multiply-add instructions do."""
    y = y.to(torch.float64) if isinstance(y, Tensor) else y
    return (x.to(torch.float64) * y + z.to(torch.float64)).to(torch.float32)


def warped(x_BCHW: Tensor, matrix_B6: Tensor) -> Tensor:
    """Nearest-neighbour warp; black outside."""
    height, width = x_BCHW.shape[2:]
    xx, xy, x0, yx, yy, y0 = matrix_B6[:, :, None, None].unbind(dim=1)
    x = torch.arange(width, device=x_BCHW.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=x_BCHW.device, dtype=torch.float32)[:, None] - (height - 1) / 2
    column = nearest(rounded_once(y, xy, x * xx) + x0, width)
    row = nearest(rounded_once(y, yy, x * yx) + y0, height)
    inside_BHW = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index_BHW = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).to(torch.int64)
    index_BN = torch.where(inside_BHW, index_BHW, -1).flatten(1)
    found = []
    for plane_BN in x_BCHW.flatten(2).unbind(dim=1):  # per channel, to compute the index once
        found.append(torch.where(index_BN < 0, 0.0, plane_BN.gather(1, index_BN.clamp(min=0))))
    return torch.stack(found, dim=1).view(x_BCHW.shape)


def nearest(position: Tensor, size: int) -> Tensor:
    """Index (float) of the nearest pixel, from a position in half sides from the centre."""
    return ((position + 1.0) * (size / 2) - 0.5).round()


def grey(x_BCHW: Tensor) -> Tensor:
    """Luminance in whole numbers: (B, 1, H, W)."""
    if x_BCHW.shape[1] != len(GREY):
        return x_BCHW.mean(dim=1, keepdim=True).floor()
    red, green, blue = x_BCHW.unbind(dim=1)
    level = rounded_once(green, GREEN, red * GREY[0])
    return rounded_once(blue, BLUE, level).floor()[:, None]


def grey_mean(x_BCHW: Tensor) -> Tensor:
    """Mean of the luminance: (B, 1, 1, 1)."""
    return grey(x_BCHW).mean(dim=(1, 2, 3), keepdim=True)


def smoothing(x_BCHW: Tensor) -> Tensor:
    """The change by smoothing: a 3 x 3 mean with weight 5 in the centre; 0 at edges."""
    height, width = x_BCHW.shape[2:]
    if height <= 2 or width <= 2:
        return torch.zeros_like(x_BCHW)
    middle = x_BCHW[:, :, 1:-1, 1:-1]
    rows = x_BCHW[:, :, :-2] + x_BCHW[:, :, 1:-1] + x_BCHW[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4.0 * middle
    return functional.pad((total / 13.0).round() - middle, (1, 1, 1, 1))


def stretched(x_BCHW: Tensor) -> Tensor:
    """Each channel stretched from its minimum and maximum to 0 and 255."""
    low, high = x_BCHW.amin(dim=(2, 3), keepdim=True), x_BCHW.amax(dim=(2, 3), keepdim=True)
    scale = (high - low) * (1.0 / 255.0)
    y_BCHW = ((x_BCHW - low) / torch.where(high > low, scale, 1.0)).clamp(0.0, 255.0).floor()
    return torch.where(high > low, y_BCHW, x_BCHW)


def equalized(x_BCHW: Tensor) -> Tensor:
    """Each channel with a flat histogram, rounded as Pillow does."""
    batch, channels, height, width = x_BCHW.shape
    level_BCN = x_BCHW.flatten(2).to(torch.int64)
    counts = torch.zeros(batch, channels, LEVELS, device=x_BCHW.device)
    ones_BCN = torch.ones(1, 1, 1, device=x_BCHW.device).expand_as(level_BCN)
    counts_BCL = counts.scatter_add(2, level_BCN, ones_BCN)
    below_BCL = counts_BCL.cumsum(dim=2) - counts_BCL
    below_BCHW = below_BCL.gather(2, level_BCN).view(x_BCHW.shape)
    brightest = x_BCHW == x_BCHW.amax(dim=(2, 3), keepdim=True)
    rest_BC11 = height * width - brightest.to(torch.float32).sum(dim=(2, 3), keepdim=True)
    # Integer division rounding down: adding half a unit absorbs float32 errors and can't reach
    # the next result.
    share_BC11 = ((rest_BC11 + 0.5) / (LEVELS - 1)).floor()
    numerator = below_BCHW + (0.5 * share_BC11).floor() + 0.5
    curve = (numerator / share_BC11.clamp(min=1.0)).floor().clamp(0.0, LEVELS - 1.0)
    return torch.where(share_BC11 > 0, curve, x_BCHW)


EDITS: dict[type[Op], Edit] = {
    RandAugment: Edit(
        draws=lambda op: 2 * op.n,
        apply=rand_augment,
        table=lambda op, size: spaces.space(
            spaces.narrow(size), op.bins, range(op.magnitude, op.magnitude + 1), size
        ),
    ),
    TrivialAugment: Edit(
        draws=3,
        apply=trivial_augment,
        table=lambda op, size: spaces.space(spaces.WIDE, op.bins, range(op.bins), size),
    ),
    AutoAugment: Edit(draws=5, apply=auto_augment, table=lambda op, size: spaces.pairs(size)),
}
