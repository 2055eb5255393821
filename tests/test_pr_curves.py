"""Counts for precision-recall curves, against counting one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.pr_curves import THRESHOLDS, positives


@given(seed=st.integers(0, 1000), classes=st.integers(2, 5), thresholds=st.integers(2, 12))
def test_counts_are_those_of_counting_one_by_one(seed: int, classes: int, thresholds: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_NK = 3 * torch.randn(20, classes, generator=generator)
    labels_N = torch.randint(classes, (20,), generator=generator)
    found = positives(logits_NK, labels_N, thresholds)
    assert found.shape == (classes, 2, thresholds)
    probabilities_NK = logits_NK.double().softmax(dim=1)
    edges = torch.linspace(0, 1, thresholds, dtype=torch.float64)
    for number in range(classes):
        for place, edge in enumerate(edges):
            said_N = probabilities_NK[:, number] >= edge
            true = (said_N & (labels_N == number)).sum()
            assert found[number, :, place].tolist() == [true, said_N.sum() - true]


def test_a_probability_on_a_threshold_counts() -> None:
    found = positives(torch.zeros(1, 2), torch.tensor([0]), thresholds=3)  # half each
    assert found[0].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert found[1].tolist() == [[0, 0, 0], [1, 1, 0]]


def test_a_certain_prediction_counts_up_to_the_last_threshold() -> None:
    found = positives(torch.tensor([[100.0, -100.0]]), torch.tensor([0]))
    assert found[0, 0].tolist() == [1] * THRESHOLDS
    assert found[1, 1].tolist() == [1] + [0] * (THRESHOLDS - 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_type_will_do(dtype: torch.dtype) -> None:
    logits_NK = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=dtype)
    found = positives(logits_NK, torch.tensor([1, 0]))
    assert found[:, :, 0].tolist() == [[1, 1], [1, 1]]
