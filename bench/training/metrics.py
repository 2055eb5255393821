"""Scores from logits, and counts for precision-recall curves.

Scores are computed from the confusion matrix in 64 bits, as in 32 bits 9,400 of 10,000 would miss a
target of 0.94.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.record import (
    ClassScores,
    Metrics,
    PerClass,
    Point,
    accuracy,
    class_scores,
    macro_average,
    time_to_accuracy_s,
)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one evaluation, for the curve."""

    loss: float
    accuracy: float
    macro_f1: float


def confusion(logits_NK: Tensor, labels_N: Tensor) -> list[list[int]]:
    """The confusion matrix; rows are true classes, columns predictions."""
    classes = logits_NK.shape[1]
    pairs_N = labels_N * classes + logits_NK.argmax(dim=1)
    counts: list[list[int]] = (
        torch.bincount(pairs_N, minlength=classes**2).view(classes, classes).tolist()
    )
    return counts


def quick_scores(logits_NK: Tensor, labels_N: Tensor) -> Scores:
    """Loss, accuracy and macro F1 of logits (N, classes) against labels int64 (N,)."""
    return _scores(logits_NK, labels_N, class_scores(confusion(logits_NK, labels_N)))


def _scores(logits_NK: Tensor, labels_N: Tensor, classes: Sequence[ClassScores]) -> Scores:
    return Scores(
        loss=F.cross_entropy(logits_NK.float(), labels_N).item(),
        accuracy=accuracy(classes),
        macro_f1=macro_average("f1", classes),
    )


def full_scores(
    logits_NK: Tensor,
    labels_N: Tensor,
    names: tuple[str, ...],
    *,
    curve: Iterable[Point],
    target: float,
    compile_s: float,
    commonest_share: float | None = None,
) -> Metrics:
    """All scores of the test set, and the time to accuracy from the curve.

    Args:
        logits_NK: (N, classes), any floating dtype.
        labels_N: int64 (N,).
        names: Class names in the order of their labels.
        compile_s: Added to the time to accuracy with compilation.
    """
    counts = confusion(logits_NK, labels_N)
    classes = class_scores(counts)
    quick = _scores(logits_NK, labels_N, classes)
    curve = list(curve)
    reached_s = time_to_accuracy_s(curve, target, commonest_share)
    return Metrics(
        accuracy=quick.accuracy,
        macro_f1=quick.macro_f1,
        precision=macro_average("precision", classes),
        recall=macro_average("recall", classes),
        loss=quick.loss,
        per_class=tuple(
            PerClass(
                name=name,
                precision=scores.precision,
                recall=scores.recall,
                f1=scores.f1,
                support=scores.support,
            )
            for name, scores in zip(names, classes, strict=True)
        ),
        confusion=tuple(tuple(row) for row in counts),
        validation_accuracy=curve[-1].validation_accuracy if curve else None,
        time_to_accuracy_s=reached_s,
        time_to_accuracy_with_compile_s=None if reached_s is None else reached_s + compile_s,
        commonest_share=commonest_share,
    )


THRESHOLDS = 51  # evenly spaced from 0 to 1


def positives(logits_NK: Tensor, labels_N: Tensor, thresholds: int = THRESHOLDS) -> Tensor:
    """True and false positives of each class against the rest, at each probability threshold.

    Args:
        logits_NK: (N, classes), any floating dtype.
        labels_N: int64 (N,).
        thresholds: Number of evenly spaced thresholds from 0 to 1, each inclusive.

    Returns:
        int64 (classes, 2, thresholds) on the same device: true positives first.
    """
    classes = logits_NK.shape[1]
    probabilities_NK = logits_NK.double().softmax(dim=1)
    edges_T = torch.linspace(0, 1, thresholds, dtype=torch.float64, device=logits_NK.device)
    # index of the last threshold that a probability reaches
    reached_NK = torch.bucketize(probabilities_NK, edges_T, right=True) - 1
    right_NK = torch.arange(classes, device=labels_N.device) == labels_N[:, None]
    slots_NK = (torch.arange(classes, device=labels_N.device) * 2 + (~right_NK).long()) * thresholds
    counts = torch.bincount((slots_NK + reached_NK).flatten(), minlength=2 * classes * thresholds)
    return counts.view(classes, 2, thresholds).flip(2).cumsum(2).flip(2)
