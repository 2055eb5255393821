"""Whether draws are even and independent: chi-square tests without a library of statistics."""

import numpy as np
import torch
from numpy.typing import NDArray

ALPHA = 1e-6  # below which a test rejects; a run of the suite makes fewer than 500 tests


def p_value(statistic: float, freedom: int) -> float:
    """Chance of at least this chi-square statistic if the hypothesis holds."""
    halves = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))


def even(values: NDArray[np.int64], possible: NDArray[np.int64]) -> bool:
    """Whether the possible values come equally often."""
    counts = np.array([(values == value).sum() for value in possible])
    expected = len(values) / len(possible)
    statistic = ((counts - expected) ** 2 / expected).sum() + (len(values) - counts.sum()) ** 2
    return len(possible) < 2 or p_value(float(statistic), len(possible) - 1) > ALPHA


def independent(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether one of two sequences of whole numbers tells nothing of the other."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return True
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return p_value(statistic, (table.shape[0] - 1) * (table.shape[1] - 1)) > ALPHA
