"""Newton-Schulz orthogonalisation of many matrices at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

QUINTIC = (
    3.4445,
    -4.7750,
    2.0315,
)  # steepest at zero; source: https://kellerjordan.github.io/posts/muon/


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Matrices that are orthogonalised in one batch.

    Args:
        members: Their places in the list.
        rows: Of each after padding; no more than `columns`, as tall matrices are turned.
        columns: Likewise.
    """

    members: tuple[int, ...]
    rows: int
    columns: int


def buckets(shapes: Sequence[tuple[int, int]], waste: float) -> list[Bucket]:
    """Sorts matrices into batches of one padded shape.

    Zeros that are added change nothing: rows and columns of zeros stay zeros.

    Args:
        shapes: (rows, columns) of each.
        waste: How many times the work of a matrix its padded form may be: launches are what costs
            on a GPU, and multiplications on a CPU.
    """
    turned = [(min(shape), max(shape)) for shape in shapes]
    order = sorted(range(len(shapes)), key=lambda i: (-turned[i][0], -turned[i][1], i))
    found: list[Bucket] = []
    while order:
        members: list[int] = []
        rows, columns = turned[order[0]][0], max(turned[order[0]][1], 1)
        work = _work(rows, columns)
        for index in order:
            fits = turned[index][0] <= rows and turned[index][1] <= columns
            if fits and work <= waste * _work(*turned[index]):
                members.append(index)
        order = [index for index in order if index not in members]
        found.append(Bucket(members=tuple(members), rows=rows, columns=columns))
    return found


def _work(rows: int, columns: int) -> int:
    """Multiplications of one iteration."""
    return 2 * rows * rows * columns + rows**3


def orthogonalise(x_BMN: Tensor, steps: int) -> Tensor:
    """The nearest matrices with singular values around one, (B, M, N) with M <= N.

    Singular values end between 0.7 and 1.2 or so, which serves as well as one.
    """
    a, b, c = QUINTIC
    x_BMN = x_BMN / x_BMN.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram_BMM = x_BMN @ x_BMN.mT
        mixed_BMM = torch.baddbmm(gram_BMM, gram_BMM, gram_BMM, beta=b, alpha=c)
        x_BMN = torch.baddbmm(x_BMN, mixed_BMM, x_BMN, beta=a)
    return x_BMN


def as_matrix(weight: Tensor) -> Tensor:
    """A view of a weight (out, in, ...) as (out, in * ...), whatever its memory format.

    The order of columns does not matter to what is orthogonal.
    """
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        return weight.permute(0, 2, 3, 1).flatten(1)
    return weight.flatten(1)
