"""Scores from logits, by torchmetrics, and the time to accuracy from a curve."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from bench.reaching import time_to_accuracy_s
from bench.record import Metrics, PerClass, Point


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the curve keeps of one evaluation."""

    loss: float
    accuracy: float
    macro_f1: float


def quick_scores(logits_NK: Tensor, labels_N: Tensor) -> Scores:
    """Loss, accuracy and macro F1 of logits (N, classes) against labels (N,)."""
    classes = logits_NK.shape[1]
    return Scores(
        loss=F.cross_entropy(logits_NK, labels_N).item(),
        accuracy=multiclass_accuracy(logits_NK, labels_N, classes, average="micro").item(),
        macro_f1=multiclass_f1_score(logits_NK, labels_N, classes, average="macro").item(),
    )


def full_scores(
    logits_NK: Tensor,
    labels_N: Tensor,
    names: tuple[str, ...],
    *,
    curve: Iterable[Point],
    target: float,
    compile_s: float,
) -> Metrics:
    """All scores of the test set, with the time to accuracy that the curve shows.

    Args:
        logits_NK: (N, classes), any floating dtype.
        labels_N: int64 (N,).
        names: Class names in the order of their labels.
        curve: The run's curve, whose validation accuracies are looked at.
        target: Validation accuracy to reach.
        compile_s: Added for the time to accuracy with compilation.
    """
    classes = len(names)
    quick = quick_scores(logits_NK.float(), labels_N)
    confusion = multiclass_confusion_matrix(logits_NK, labels_N, classes)
    each = {
        score: function(logits_NK, labels_N, classes, average="none").tolist()
        for score, function in (
            ("precision", multiclass_precision),
            ("recall", multiclass_recall),
            ("f1", multiclass_f1_score),
        )
    }
    support = torch.bincount(labels_N, minlength=classes).tolist()
    curve = list(curve)
    reached_s = time_to_accuracy_s(curve, target)
    return Metrics(
        accuracy=quick.accuracy,
        macro_f1=quick.macro_f1,
        precision=multiclass_precision(logits_NK, labels_N, classes, average="macro").item(),
        recall=multiclass_recall(logits_NK, labels_N, classes, average="macro").item(),
        loss=quick.loss,
        per_class=tuple(
            PerClass(
                name=name,
                precision=each["precision"][index],
                recall=each["recall"][index],
                f1=each["f1"][index],
                support=support[index],
            )
            for index, name in enumerate(names)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        validation_accuracy=curve[-1].validation_accuracy if curve else None,
        time_to_accuracy_s=reached_s,
        time_to_accuracy_with_compile_s=None if reached_s is None else reached_s + compile_s,
    )
