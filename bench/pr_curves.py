"""How many of a class's predictions are right and wrong at each probability, for PR curves."""

import torch
from torch import Tensor

THRESHOLDS = 51  # from 0 to 1 in even steps


def positives(logits_NK: Tensor, labels_N: Tensor, thresholds: int = THRESHOLDS) -> Tensor:
    """True and false positives of each class against the rest.

    An image counts as predicted to be of a class when its probability is at least the threshold.

    Args:
        logits_NK: (N, classes), any floating dtype.
        labels_N: int64 (N,).
        thresholds: How many, dividing 0 to 1 evenly.

    Returns:
        int64 (classes, 2, thresholds) on the same device: true ones first.
    """
    classes = logits_NK.shape[1]
    probabilities_NK = logits_NK.double().softmax(dim=1)
    edges_T = torch.linspace(0, 1, thresholds, dtype=torch.float64, device=logits_NK.device)
    # the last threshold that a probability reaches
    reached_NK = torch.bucketize(probabilities_NK, edges_T, right=True) - 1
    right_NK = torch.arange(classes, device=labels_N.device) == labels_N[:, None]
    slots_NK = (torch.arange(classes, device=labels_N.device) * 2 + (~right_NK).long()) * thresholds
    counts = torch.bincount((slots_NK + reached_NK).flatten(), minlength=2 * classes * thresholds)
    return counts.view(classes, 2, thresholds).flip(2).cumsum(2).flip(2)
