"""Newton-Schulz orthogonalisation of many matrices at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Steepest at zero; source: https://kellerjordan.github.io/posts/muon/
QUINTIC = (3.4445, -4.7750, 2.0315)


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

    Args:
        shapes: (rows, columns) of each.
        waste: How many times the work of a matrix its padded form may be: launches are what costs
            on a GPU, and multiplications on a CPU.
    """
    turned = [(min(shape), max(shape)) for shape in shapes]
    left = sorted(range(len(shapes)), key=lambda index: turned[index], reverse=True)
    found: list[Bucket] = []
    while left:
        rows, columns = turned[left[0]]
        members = [
            index
            for index in left
            if turned[index][1] <= columns  # rows are no more, by the order
            and work(rows, columns) <= waste * work(*turned[index])
        ]
        left = [index for index in left if index not in members]
        found.append(Bucket(members=tuple(members), rows=rows, columns=columns))
    return found


def work(rows: int, columns: int) -> int:
    """Multiplications of one iteration."""
    return 2 * rows * rows * columns + rows**3


def orthogonal_in(
    bucket: Bucket, matrices: Sequence[Tensor], steps: int, dtype: torch.dtype
) -> list[Tensor]:
    """The bucket's matrices made orthogonal: views of one batch in `dtype`, each in its shape.

    Zeros that pad them change nothing: rows and columns of zeros stay zeros.
    """
    chosen = [matrices[index] for index in bucket.members]
    size = (len(chosen), bucket.rows, bucket.columns)
    x_BMN = chosen[0].new_zeros(size, dtype=dtype)
    for place, matrix in zip(_places(x_BMN, chosen), chosen, strict=True):
        place.copy_(matrix)
    return _places(orthogonalise(x_BMN, steps), chosen)


def _places(x_BMN: Tensor, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Where each matrix lies in a padded batch, a tall one turned."""
    return [
        padded.mT[:rows, :columns] if rows > columns else padded[:rows, :columns]
        for padded, (rows, columns) in zip(x_BMN, (m.shape for m in matrices), strict=True)
    ]


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
        weight = weight.permute(0, 2, 3, 1)
    return weight.view(len(weight), -1)  # never a copy, which an update would be lost in
