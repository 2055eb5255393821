"""Scores agree with scikit-learn; the time to accuracy is the first crossing, if any."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from bench.record import Point, time_to_accuracy_s
from bench.training.metrics import THRESHOLDS, full_scores, positives, quick_scores
from tests.made import made_curve

NAMES = tuple("abcdefg")


def point(epoch: int, train_s: float, accuracy: float | None) -> Point:
    return replace(
        made_curve(1, 100, 0.7)[0], epoch=epoch, train_s=train_s, validation_accuracy=accuracy
    )


def made_logits(seed: int, weights: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor(weights), 500, replacement=True, generator=generator)
    logits = torch.randn(500, len(weights), generator=generator)
    logits[torch.arange(500), labels] += 1.0
    return logits, labels


@pytest.mark.parametrize(
    "weights",
    [
        [1.0] * 7,
        [100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1],
        [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0],  # guessed, but never there
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ],
)
def test_scores_agree_with_scikit_learn(weights: list[float]) -> None:
    logits, labels = made_logits(0, weights)
    found = full_scores(logits, labels, NAMES, curve=[], target=0.5, compile_s=0.0)
    truth, guess = labels.numpy(), logits.argmax(1).numpy()
    assert found.accuracy == pytest.approx(sk.accuracy_score(truth, guess), abs=1e-12)
    assert found.macro_f1 == pytest.approx(sk.f1_score(truth, guess, average="macro"), abs=1e-12)
    assert found.confusion == tuple(
        map(tuple, sk.confusion_matrix(truth, guess, labels=range(7)).tolist())
    )
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, guess, labels=range(7), zero_division=0
    )
    assert [c.precision for c in found.per_class] == pytest.approx(list(precision), abs=1e-12)
    assert [c.recall for c in found.per_class] == pytest.approx(list(recall), abs=1e-12)
    assert [c.f1 for c in found.per_class] == pytest.approx(list(f1), abs=1e-12)
    assert [c.support for c in found.per_class] == list(support)
    macro = sk.precision_recall_fscore_support(truth, guess, average="macro", zero_division=0)
    assert (found.precision, found.recall) == pytest.approx(macro[:2], abs=1e-12)
    quick = quick_scores(logits, labels)
    assert (quick.accuracy, quick.macro_f1) == (found.accuracy, found.macro_f1)


@pytest.mark.parametrize("right", [9400, 9001, 9999])
def test_an_accuracy_equal_to_the_target_reaches_it(right: int) -> None:
    labels = torch.zeros(10_000, dtype=torch.int64)
    logits = torch.tensor([0.0, 1.0]).repeat(10_000, 1)
    logits[:right, 0] = 2.0
    accuracy = quick_scores(logits, labels).accuracy
    assert accuracy == right / 10_000
    assert time_to_accuracy_s([point(1, 1.0, accuracy)], right / 10_000) == 1.0


def test_time_to_accuracy_is_the_first_crossing_and_an_unused_class_does_not_count() -> None:
    curve = [point(1, 1.0, 0.3), point(2, 2.0, 0.5), point(3, 3.0, 0.4), point(4, 4.0, 0.6)]
    assert time_to_accuracy_s(curve, 0.5) == 2.0
    assert time_to_accuracy_s(curve, 0.55) == 4.0
    assert time_to_accuracy_s([*curve, point(5, 5.0, None)], 0.7) is None
    logits = torch.eye(7)[[0, 1, 1]]
    found = full_scores(logits, torch.tensor([0, 1, 0]), NAMES, curve=[], target=0.5, compile_s=0.0)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert (found.precision, found.recall) == pytest.approx((0.75, 0.75))


@pytest.mark.parametrize(("share", "reached_s"), [(None, 2.0), (0.49, 2.0), (0.5, None), (1, None)])
def test_a_target_needs_more_than_one_class(share: float | None, reached_s: float | None) -> None:
    curve = [point(1, 1.0, 0.4), point(2, 2.0, 0.6)]
    assert time_to_accuracy_s(curve, 0.5, share) == reached_s


@pytest.mark.parametrize(("target", "times"), [(0.5, (1.5, 3.5)), (0.9, (None, None))])
def test_compilation_is_added_to_the_second_time(target: float, times: tuple[float, float]) -> None:
    logits, labels = made_logits(0, [1.0] * 7)
    curve = [point(1, 1.5, 0.8)]
    scores = full_scores(logits, labels, NAMES, curve=curve, target=target, compile_s=2.0)
    assert (scores.time_to_accuracy_s, scores.time_to_accuracy_with_compile_s) == times
    assert scores.validation_accuracy == 0.8


@given(seed=st.integers(0, 1000), classes=st.integers(2, 5), thresholds=st.integers(2, 12))
def test_counts_agree_with_a_simple_loop(seed: int, classes: int, thresholds: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_NK = 3 * torch.randn(20, classes, generator=generator)
    labels_N = torch.randint(classes, (20,), generator=generator)
    found = positives(logits_NK, labels_N, thresholds)
    assert found.shape == (classes, 2, thresholds)
    probabilities_NK = logits_NK.double().softmax(dim=1)
    edges = torch.linspace(0, 1, thresholds, dtype=torch.float64)
    for number in range(classes):
        for place, edge in enumerate(edges):
            positive_N = probabilities_NK[:, number] >= edge
            true = (positive_N & (labels_N == number)).sum()
            assert found[number, :, place].tolist() == [true, positive_N.sum() - true]


def test_a_probability_on_a_threshold_counts() -> None:
    found = positives(torch.zeros(1, 2), torch.tensor([0]), thresholds=3)  # half each
    assert found[0].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert found[1].tolist() == [[0, 0, 0], [1, 1, 0]]
    certain = positives(torch.tensor([[100.0, -100.0]]), torch.tensor([0]))
    assert certain[0, 0].tolist() == [1] * THRESHOLDS
    assert certain[1, 1].tolist() == [1] + [0] * (THRESHOLDS - 1)
