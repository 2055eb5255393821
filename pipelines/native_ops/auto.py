"""The automatic policies: each sample's own choice of op, all in one pass without branches.

A step is one warp, one blend, one curve and one lookup, of which all but one leave the sample as it
is. So its cost does not depend on which ops were chosen, and nothing waits for the choice. Pixels
are those of torchvision's operators on uint8 images; to that end sums are rounded where it rounds
them.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.native_ops import spaces
from pipelines.native_ops.edits import GREY, Edit, grey
from pipelines.ops import AutoAugment, Op, RandAugment, TrivialAugment

LEVELS = 256
# torch rounds its scalars to float32; float64 arithmetic must start from the same numbers.
GREEN, BLUE = torch.tensor(GREY[1:]).tolist()


def whole(x_BHWC: Tensor) -> Tensor:
    """Whole numbers 0..255, as torchvision makes uint8 of floats; whole ones stay."""
    return (x_BHWC * (255.999 / 255.0)).floor().clamp(0.0, 255.0)


def rand_augment(op: RandAugment, x_BHWC: Tensor, u_BK: Tensor, table_RF: Tensor) -> Tensor:
    """Draws are op and sign, `n` times."""
    x_BHWC = whole(x_BHWC)
    for index in range(op.n):
        op_B, sign_B = pick(u_BK[:, 2 * index], len(spaces.OPS)), pick(u_BK[:, 2 * index + 1], 2)
        x_BHWC = step(x_BHWC, table_RF[2 * op_B + sign_B])
    return x_BHWC


def trivial_augment(op: TrivialAugment, x_BHWC: Tensor, u_B3: Tensor, table_RF: Tensor) -> Tensor:
    """Draws are op, magnitude and sign."""
    op_B, bin_B = pick(u_B3[:, 0], len(spaces.OPS)), pick(u_B3[:, 1], op.bins)
    row_B = 2 * (op.bins * op_B + bin_B) + pick(u_B3[:, 2], 2)
    return step(whole(x_BHWC), table_RF[row_B])


def auto_augment(op: AutoAugment, x_BHWC: Tensor, u_B5: Tensor, tables_2RF: Tensor) -> Tensor:
    """Draws are the pair, and whether and sign for each of its two ops."""
    x_BHWC = whole(x_BHWC)
    pair_B = pick(u_B5[:, 0], len(spaces.CIFAR10))
    neutral_F = tables_2RF[0, -1, 1:]
    for index, table_RF in enumerate(tables_2RF.unbind(dim=0)):
        row_BF = table_RF[2 * pair_B + pick(u_B5[:, 2 * index + 2], 2)]
        done_B1 = u_B5[:, 2 * index + 1, None] < row_BF[:, :1]
        x_BHWC = step(x_BHWC, torch.where(done_B1, row_BF[:, 1:], neutral_F))
    return x_BHWC


def pick(u_B: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) to int64 0..count - 1, each equally likely."""
    return (u_B * count).to(torch.int64)


def step(x_BHWC: Tensor, row_BF: Tensor) -> Tensor:
    """One op for each sample, on whole numbers 0..255; fields are those of `spaces.Row`."""
    settings_FB111 = row_BF[:, 6:, None, None, None].unbind(dim=1)
    factor, weight, towards, bits, threshold, histogram = settings_FB111
    y_BHWC = warped(x_BHWC, row_BF[:, :6])
    # No sample is both warped and blended, so that what is blended in needs no warp.
    other = torch.where(towards == spaces.MEAN, grey_mean(x_BHWC), 0.0)
    other = torch.where(towards == spaces.GREY, grey_level(x_BHWC), other)
    other = torch.where(towards == spaces.SMOOTH, smoothing(x_BHWC), other)
    y_BHWC = rounded_once(other, weight, y_BHWC * factor).clamp(0.0, 255.0).floor()
    y_BHWC = (y_BHWC.to(torch.int32) & bits.to(torch.int32)).to(torch.float32)
    y_BHWC = torch.where(y_BHWC >= threshold, 255.0 - y_BHWC, y_BHWC)
    y_BHWC = torch.where(histogram == spaces.STRETCH, stretched(x_BHWC), y_BHWC)
    return torch.where(histogram == spaces.EQUALIZE, equalized(x_BHWC), y_BHWC)


def rounded_once(x: Tensor, y: Tensor | float, z: Tensor) -> Tensor:
    """x * y + z in float32, rounded at the end only, as processors do in one instruction."""
    y = y.to(torch.float64) if isinstance(y, Tensor) else y
    return (x.to(torch.float64) * y + z.to(torch.float64)).to(torch.float32)


def warped(x_BHWC: Tensor, matrix_B6: Tensor) -> Tensor:
    """Each pixel from the nearest to where it came from; black outside."""
    batch, height, width, channels = x_BHWC.shape
    xx, xy, x0, yx, yy, y0 = matrix_B6[:, :, None, None].unbind(dim=1)
    x = torch.arange(width, device=x_BHWC.device, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, device=x_BHWC.device, dtype=torch.float32)[:, None] - (height - 1) / 2
    column = nearest(rounded_once(y, xy, x * xx) + x0, width)
    row = nearest(rounded_once(y, yy, x * yx) + y0, height)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    start_B11 = torch.arange(batch, device=x_BHWC.device)[:, None, None] * (height * width)
    index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    found = x_BHWC.reshape(-1, channels)[start_B11 + index]
    return torch.where(inside[..., None], found, 0.0)


def nearest(position: Tensor, size: int) -> Tensor:
    """Positions in half sides from the centre to the index of the nearest pixel, as float."""
    return ((position + 1.0) * (size / 2) - 0.5).round()


def grey_level(x_BHWC: Tensor) -> Tensor:
    """Luminance in whole numbers: (B, H, W, 1)."""
    if x_BHWC.shape[3] != 3:
        return grey(x_BHWC).floor()
    red, green, blue = x_BHWC.unbind(dim=3)
    level = rounded_once(green, GREEN, red * GREY[0])
    return rounded_once(blue, BLUE, level).floor()[..., None]


def grey_mean(x_BHWC: Tensor) -> Tensor:
    """Mean of the luminance: (B, 1, 1, 1)."""
    return grey_level(x_BHWC).mean(dim=(1, 2, 3), keepdim=True)


def smoothing(x_BHWC: Tensor) -> Tensor:
    """What smoothing adds to each pixel: a 3 x 3 mean with 5 in the middle; 0 at edges."""
    height, width = x_BHWC.shape[1:3]
    if height <= 2 or width <= 2:
        return torch.zeros_like(x_BHWC)
    middle = x_BHWC[:, 1:-1, 1:-1]
    rows = x_BHWC[:, :-2] + x_BHWC[:, 1:-1] + x_BHWC[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4.0 * middle
    return functional.pad((total / 13.0).round() - middle, (0, 0, 1, 1, 1, 1))


def stretched(x_BHWC: Tensor) -> Tensor:
    """Each channel from its own minimum and maximum to 0 and 255."""
    low, high = x_BHWC.amin(dim=(1, 2), keepdim=True), x_BHWC.amax(dim=(1, 2), keepdim=True)
    scale = (high - low) * (1.0 / 255.0)
    y_BHWC = ((x_BHWC - low) / torch.where(high > low, scale, 1.0)).clamp(0.0, 255.0).floor()
    return torch.where(high > low, y_BHWC, x_BHWC)


def equalized(x_BHWC: Tensor) -> Tensor:
    """Each channel through the curve that flattens its histogram, by Pillow's rounding."""
    batch, height, width, channels = x_BHWC.shape
    level = x_BHWC.to(torch.int64)
    index_BN = (level + torch.arange(channels, device=x_BHWC.device) * LEVELS).flatten(1)
    counts = torch.zeros(batch, channels * LEVELS, device=x_BHWC.device, dtype=torch.int32)
    ones_BN = torch.ones(1, 1, device=x_BHWC.device, dtype=torch.int32).expand_as(index_BN)
    counts_BCL = counts.scatter_add(1, index_BN, ones_BN).view(batch, channels, LEVELS)
    below_BCL = counts_BCL.cumsum(dim=2, dtype=torch.int32) - counts_BCL
    brightest_BC = (x_BHWC == x_BHWC.amax(dim=(1, 2), keepdim=True)).sum(dim=(1, 2))
    share_BC1 = ((height * width - brightest_BC) // (LEVELS - 1)).to(torch.int32)[..., None]
    curve_BCL = (below_BCL + share_BC1 // 2) // share_BC1.clamp(min=1)
    unchanged_L = torch.arange(LEVELS, device=x_BHWC.device, dtype=torch.int32)
    curve_BCL = torch.where(share_BC1 > 0, curve_BCL.clamp(0, LEVELS - 1), unchanged_L)
    return curve_BCL.flatten(1).gather(1, index_BN).view(x_BHWC.shape).to(torch.float32)


def narrow_table(op: RandAugment, size: spaces.Size) -> Tensor:
    """Ops and signs at the one magnitude."""
    at = range(op.magnitude, op.magnitude + 1)
    return spaces.space(spaces.narrow(size), op.bins, at, size)


def wide_table(op: TrivialAugment, size: spaces.Size) -> Tensor:
    """Ops, magnitudes and signs."""
    return spaces.space(spaces.WIDE, op.bins, range(op.bins), size)


def pair_tables(op: AutoAugment, size: spaces.Size) -> Tensor:
    """First and second ops of the pairs."""
    return spaces.pairs(size)


EDITS: dict[type[Op], Edit] = {
    RandAugment: Edit(draws=lambda op: 2 * op.n, apply=rand_augment, table=narrow_table),
    TrivialAugment: Edit(draws=3, apply=trivial_augment, table=wide_table),
    AutoAugment: Edit(draws=5, apply=auto_augment, table=pair_tables),
}
