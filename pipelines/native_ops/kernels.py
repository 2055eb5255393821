"""The compiled functions of the native pipeline: locate pixels, render images, mix batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pipelines.compiling import compiled
from pipelines.native_ops import auto, edits, mixes, moves
from pipelines.ops import Op, implementation_of

EDITS = {**edits.EDITS, **auto.EDITS}


@dataclass(frozen=True, kw_only=True)
class Program:
    """The arguments of a policy's kernels; equal programs share kernels.

    Args:
        leading: The first ops, as long as they only move or cover pixels.
        following: The other ops.
        mix: The final op, if it mixes the batch.
        mean: Mean of each channel, in 0..255.
        dtype: Data type of the batch's images.
        channels_last: Whether their memory format is channels_last or contiguous.
        writes: Whether `Kernels.render` writes into given memory.
        fresh: Whether the source is the batch itself, decoded for it.
    """

    leading: tuple[Op, ...]
    following: tuple[Op, ...]
    mix: Op | None
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype
    channels_last: bool
    compile: bool
    writes: bool
    fresh: bool = False

    def draws(self) -> int:
        """Number of uniform draws per sample."""
        mixing = 0 if self.mix is None else mixes.MIXES[type(self.mix)].draws
        return sum(map(draws_of, self.leading + self.following)) + mixing


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The functions of a program, compiled or not.

    Separate graphs, so that offsets are computed per row and per column, not per pixel.

    Args:
        locate: (indices (B,), draws (B, K)) to flat offsets of rows and columns, and covers; or
            what `locating_values` or `locating_lines` returns.
        render: (images (B, C, H, W) to write into or None, source (N, H, W, C), draws, tables,
            *located) to images (B, C, H, W).
        mix: (images, weights (B,), draws) to images and own shares (B,).
    """

    locate: Callable[..., tuple[Tensor, ...]]
    render: Callable[..., Tensor]
    mix: Callable[..., tuple[Tensor, Tensor]]


def edit_of(op: Op) -> edits.Edit:
    """The `Edit` of an op that neither moves nor mixes; a plugin's op brings its own."""
    return implementation_of(op, EDITS, "native")


def draws_of(op: Op) -> int:
    """Number of uniform draws per sample that an op needs."""
    draws = moves.MOVES[type(op)].draws if type(op) in moves.MOVES else edit_of(op).draws
    return draws if isinstance(draws, int) else draws(op)


@cache
def kernels(program: Program) -> Kernels:
    """The functions of a program, built once per process."""
    if in_lines(program):
        locate, render = locating_lines(program), rendering_lines(program)
    elif values_together(program):
        locate, render = locating_values(program), rendering_values(program)
    else:
        locate, render = locating(program), rendering(program)
    mix = mixing(program)
    if program.compile:
        locate, mix = compiled(locate), compiled(mix)
    return Kernels(locate=locate, render=delivering(program, render), mix=mix)


def locating(program: Program) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """See `Kernels.locate`."""
    count = sum(map(draws_of, program.leading))
    channels = len(program.mean)

    def locate(index_B: Tensor, u_BK: Tensor) -> tuple[Tensor, ...]:
        start = moves.identity(len(index_B), program.height, program.width, index_B.device)
        places = moves.trace(program.leading, start, u_BK[:, :count])
        rows_BH = index_B[:, None] * program.height + places.rows_BH
        covers = moves.covers_of(places)
        return rows_BH * (program.width * channels), places.columns_BW * channels, *covers

    return locate


def delivering(program: Program, render: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Kernels.render`, from a `render` that returns new images."""
    if not program.writes:
        made = compiled(render) if program.compile else render
        return lambda to_BCHW, *inputs: made(*inputs)
    order = (0, 2, 3, 1) if program.channels_last else (0, 1, 2, 3)

    def write(to: Tensor, *inputs: Tensor) -> None:
        to.copy_(render(*inputs).permute(order))

    written = compiled(write)

    def into(to_BCHW: Tensor, *inputs: Tensor) -> Tensor:
        # In memory order; otherwise the kernel would copy a finished batch.
        written(to_BCHW.permute(order), *inputs)
        return to_BCHW

    return into


def rendering(program: Program) -> Callable[..., Tensor]:
    """A function that renders images (B, C, H, W) in new memory."""
    used = sum(map(draws_of, program.leading))
    paints = moves.paints(program.leading)

    def render(
        source_NHWC: Tensor,
        u_BK: Tensor,
        tables: tuple[Tensor | None, ...],
        row_BH: Tensor,
        column_BW: Tensor,
        *covers: Tensor,
    ) -> Tensor:
        source = source_NHWC.view(-1)
        pixel_BHW = row_BH[:, :, None] + column_BW[:, None, :]
        planes = []
        for channel, mean in enumerate(program.mean):  # per channel, as a vectorised gather
            x_BHW = source[pixel_BHW + channel].to(torch.float32)
            planes.append(moves.painted(x_BHW[..., None], paints, covers, mean)[..., 0])
        if program.following:
            # In memory the channels stay separate, so that CPUs vectorise most of what follows.
            x_BHWC = torch.stack(planes, dim=1).permute(0, 2, 3, 1)
            x_BHWC = follow(program, x_BHWC, u_BK[:, used:], tables)
            planes = [x_BHWC[..., channel] for channel in range(len(program.mean))]
        for channel, (mean, std) in enumerate(zip(program.mean, program.std, strict=True)):
            planes[channel] = ((planes[channel] - mean) / std).to(program.dtype)
        if program.channels_last:
            return torch.stack(planes, dim=-1).permute(0, 3, 1, 2)
        return torch.stack(planes, dim=1)

    return render


def values_together(program: Program) -> bool:
    """Whether a row is read and written value by value, its channels together.

    With channels_last on both sides, this takes less than half the time on a CPU.
    """
    return program.channels_last and not program.following


def locating_values(program: Program) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """As `locating`, with columns, mean and std for each value of a row, ready to be read in turn.

    Returns:
        A function that returns rows (B, H), columns (B, W, C), mean and std (W, C), and covers of
        rows (B, H) and columns (B, W, C).
    """
    locate = locating(program)

    def locate_values(index_B: Tensor, u_BK: Tensor) -> tuple[Tensor, ...]:
        row_BH, column_BW, *covers = locate(index_B, u_BK)
        channel_C = torch.arange(len(program.mean), device=index_B.device)
        column_BWC = column_BW[..., None] + channel_C
        covers = covers_per_value(covers, len(channel_C))
        return row_BH, column_BWC, *norms(program, channel_C), *covers

    return locate_values


def rendering_values(program: Program) -> Callable[..., Tensor]:
    """As `rendering`, given what `locating_values` locates."""
    paints = moves.paints(program.leading)

    def render(
        source_NHWC: Tensor,
        u_BK: Tensor,
        tables: tuple[Tensor | None, ...],
        row_BH: Tensor,
        column_BWC: Tensor,
        mean_WC: Tensor,
        std_WC: Tensor,
        *covers: Tensor,
    ) -> Tensor:
        place_BHWC = row_BH[:, :, None, None] + column_BWC[:, None]
        x_BHWC = source_NHWC.view(-1)[place_BHWC].to(torch.float32)
        x_BHWC = moves.painted(x_BHWC, paints, covers, mean_WC)
        return ((x_BHWC - mean_WC) / std_WC).to(program.dtype).permute(0, 3, 1, 2)

    return render


def in_lines(program: Program) -> bool:
    """Whether a CPU interpolates whole rows first, then values within them.

    The ops must be one with `Edit.places`, and moves after it. Results round differently.
    """
    ops = program.leading + program.following
    return (
        program.channels_last
        and program.writes
        and program.fresh
        and bool(program.following)
        and type(ops[0]) not in moves.MOVES
        and edit_of(ops[0]).places is not None
        and all(type(op) in moves.MOVES for op in ops[1:])
    )


def locating_lines(program: Program) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """As `locating_values`, for `rendering_lines`.

    Returns:
        A function that returns the rows above and below and their distance (B, H), the flat offsets
        of the values on the left and right and their distance (B, W, C), mean and std (W, C), and
        covers as `locating_values`.
    """
    first, *others = program.following
    find = edit_of(first).places
    assert find is not None
    used, count = draws_of(first), sum(map(draws_of, program.following))
    height, width, channels = program.height, program.width, len(program.mean)

    def locate(index_B: Tensor, u_BK: Tensor) -> tuple[Tensor, ...]:
        start = moves.identity(len(index_B), height, width, index_B.device)
        places = moves.trace(others, start, u_BK[:, used:count])
        rows_BH, columns_BW = find(first, height, width, u_BK[:, :used])
        top_BH, below_BH, down_BH = edits.neighbours(rows_BH.gather(1, places.rows_BH), height)
        left_BW, right_BW, across_BW = edits.neighbours(
            columns_BW.gather(1, places.columns_BW), width
        )
        first_B1 = torch.arange(len(index_B), device=index_B.device)[:, None] * height
        channel_C = torch.arange(channels, device=index_B.device)
        return (
            first_B1 + top_BH,
            first_B1 + below_BH,
            down_BH,
            (left_BW * channels)[..., None] + channel_C,
            (right_BW * channels)[..., None] + channel_C,
            per_value(across_BW, channels),
            *norms(program, channel_C),
            *covers_per_value(moves.covers_of(places), channels),
        )

    return locate


def rendering_lines(program: Program) -> Callable[..., Tensor]:
    """As `rendering`, given what `locating_lines` locates."""
    paints = moves.paints(program.following[1:])

    def render(
        source_BHWC: Tensor,
        u_BK: Tensor,
        tables: tuple[Tensor | None, ...],
        top_BH: Tensor,
        below_BH: Tensor,
        down_BH: Tensor,
        left_BWC: Tensor,
        right_BWC: Tensor,
        across_BWC: Tensor,
        mean_WC: Tensor,
        std_WC: Tensor,
        *covers: Tensor,
    ) -> Tensor:
        rows_RN = source_BHWC.view(-1, program.width * len(program.mean))
        top_BHN, below_BHN = rows_RN[top_BH].to(torch.float32), rows_RN[below_BH].to(torch.float32)
        between_BHN = top_BHN + (below_BHN - top_BHN) * down_BH[:, :, None]
        start_BH = torch.arange(top_BH.numel(), device=top_BH.device).view(top_BH.shape)
        start_BH11 = (start_BH * between_BHN.shape[2])[:, :, None, None]
        values = between_BHN.view(-1)
        left_BHWC = values[start_BH11 + left_BWC[:, None]]
        right_BHWC = values[start_BH11 + right_BWC[:, None]]
        x_BHWC = left_BHWC + (right_BHWC - left_BHWC) * across_BWC[:, None]
        x_BHWC = moves.painted(x_BHWC, paints, covers, mean_WC)
        return ((x_BHWC - mean_WC) / std_WC).to(program.dtype).permute(0, 3, 1, 2)

    return render


def per_value(x_BW: Tensor, channels: int) -> Tensor:
    """Repeats each pixel's number for its channels: (B, W, C)."""
    return in_memory(x_BW[..., None].expand(-1, -1, channels))


def covers_per_value(covers: Sequence[Tensor], channels: int) -> list[Tensor]:
    """Covers of rows (B, H) and columns (B, W, C) in turn."""
    return [per_value(x, channels) if at % 2 else x for at, x in enumerate(covers)]


def norms(program: Program, channel_C: Tensor) -> list[Tensor]:
    """Mean and std of each value of a row: (W, C)."""
    return [
        in_memory(chosen(values, channel_C).expand(program.width, -1))
        for values in (program.mean, program.std)
    ]


def in_memory(expanded: Tensor) -> Tensor:
    """Writes out repeated numbers where the compiler makes it part of a kernel."""
    return expanded.contiguous() if torch.compiler.is_compiling() else expanded


def chosen(values: Sequence[float], channel_C: Tensor) -> Tensor:
    """The value of each channel, selected from constants in the kernel."""
    result_C = torch.full_like(channel_C, values[-1], dtype=torch.float32)
    for channel, value in enumerate(values[:-1]):
        result_C = torch.where(channel_C == channel, value, result_C)
    return result_C


def follow(
    program: Program, x_BHWC: Tensor, u_BK: Tensor, tables: tuple[Tensor | None, ...]
) -> Tensor:
    """Applies the ops after the gather, on images in 0..255."""
    start = 0
    for op, table in zip(program.following, tables, strict=True):
        u = u_BK[:, start : start + draws_of(op)]
        if type(op) in moves.MOVES:
            x_BHWC = moves.move(op, x_BHWC, u, program.mean)
        elif table is None:
            x_BHWC = edit_of(op).apply(op, x_BHWC, u)
        else:
            x_BHWC = edit_of(op).apply(op, x_BHWC, u, table)
        start += draws_of(op)
    return x_BHWC


def mixing(program: Program) -> Callable[..., tuple[Tensor, Tensor]]:
    """See `Kernels.mix`."""
    memory = torch.channels_last if program.channels_last else torch.contiguous_format

    def mix(x_BCHW: Tensor, weight_B: Tensor, u_BK: Tensor) -> tuple[Tensor, Tensor]:
        assert program.mix is not None
        mix_op = mixes.MIXES[type(program.mix)]
        u = u_BK[:, u_BK.shape[1] - mix_op.draws :]
        x_BCHW, own_B = mix_op.apply(program.mix, x_BCHW, weight_B, u)
        return x_BCHW.contiguous(memory_format=memory), own_B

    return mix
