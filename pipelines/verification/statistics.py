"""Chi-square tests of declared distributions and of independence.

A test rejects below `ALPHA`. `bench loaders --verify` makes about 270 of them per pipeline, under
5,000 in all, so a correct pipeline is rejected in fewer than one run of 1,000.

Power with the 4,096 samples of an op: crop offsets whose ends are half as frequent as the others
(the result of rounding a continuous offset) are detected with a probability above 99.9 %, as is a
missing end. With 8,192 samples for a flip, a probability of 0.45 instead of 0.5 is detected as
reliably. One draw for a whole batch, and draws that ignore seed or epoch, can't pass.
`tests/pipelines/verification/test_statistics.py` computes all of this.
"""

import numpy as np
import torch
from numpy.typing import NDArray

ALPHA = 1e-7
MIN_EXPECTED = 8.0  # per class, for the chi-square approximation
MAX_CLASSES = 8  # of each compared sequence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def p_value(statistic: float, freedom: int) -> float:
    """Probability of at least this chi-square statistic if the hypothesis is true."""
    halves = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))


def fits(counts: Ints, expected: Ints | Floats) -> bool:
    """Whether counts of classes are as expected; rare classes are pooled.

    Args:
        expected: Probability of each class (float), or its count in other draws (int).
    """
    if counts[expected == 0].any() and expected.dtype == np.float64:
        return False
    share = expected / expected.sum()
    common = share * counts.sum() >= MIN_EXPECTED
    if share[~common].sum() * counts.sum() < MIN_EXPECTED and common.any():
        common[np.flatnonzero(common)[-1]] = False  # the rest are too few for a class
    seen, wanted = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    if len(seen) < 2:
        return True
    if expected.dtype != np.float64:
        return independent_table(np.stack([seen, wanted]))
    wanted = wanted / wanted.sum() * seen.sum()
    return p_value(float(((seen - wanted) ** 2 / wanted).sum()), len(seen) - 1) > ALPHA


def independent(one: Ints, other: Ints) -> bool:
    """Whether two sequences of whole numbers are independent."""
    table = np.zeros((MAX_CLASSES, MAX_CLASSES), dtype=np.int64)
    np.add.at(table, (binned(one), binned(other)), 1)
    return independent_table(table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0])


def independent_table(table: Ints) -> bool:
    """Whether the rows and columns of a table of counts are independent."""
    if min(table.shape) < 2:
        return True
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return p_value(statistic, (table.shape[0] - 1) * (table.shape[1] - 1)) > ALPHA


def binned(values: Ints) -> Ints:
    """Groups values into ascending classes of similar size; fewer classes for fewer values."""
    count = int(max(2, min(MAX_CLASSES, (len(values) / 16) ** 0.5)))
    known, index, sizes = np.unique(values, return_inverse=True, return_counts=True)
    label = np.zeros(len(known), dtype=np.int64)
    current, filled = 0, 0
    for at, size in enumerate(sizes):
        label[at], filled = current, filled + int(size)
        rest = len(values) - int(sizes[: at + 1].sum())
        if filled >= len(values) / count and rest >= len(values) / count / 2:
            current, filled = current + 1, 0
    found: Ints = label[index.ravel()]
    return found
