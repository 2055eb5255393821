"""Views of test images whose logits are averaged: test-time augmentation, as the records use it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 1  # pixels


def views(images_BCHW: Tensor, count: int) -> list[Tensor]:
    """The image; with 2 or more its mirror image; with 6 both, moved up-left and down-right.

    Moved images are padded by reflection. Source: cifar10-airbench.
    """
    found = [images_BCHW]
    if count == 6:
        height, width = images_BCHW.shape[2:]
        padded = F.pad(images_BCHW, (SHIFT,) * 4, mode="reflect")
        found.append(padded[:, :, :height, :width])
        found.append(padded[:, :, 2 * SHIFT :, 2 * SHIFT :])
    if count == 1:
        return found
    return [view for plain in found for view in (plain, plain.flip(3))]


def weights(count: int) -> list[float]:
    """Of each of `views`: those that are not moved weigh half together."""
    return {1: [1.0], 2: [0.5, 0.5], 6: [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]}[count]


def averaged(
    forward: Callable[[Tensor], Tensor], images_BCHW: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Logits float32 (B, classes): averaged over the views, and those of the plain image."""
    memory_format = (
        torch.channels_last
        if images_BCHW.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    plain_BK: Tensor | None = None
    total_BK: Tensor | None = None
    for view, weight in zip(views(images_BCHW, count), weights(count), strict=True):
        logits_BK = forward(view.contiguous(memory_format=memory_format)).float()
        plain_BK = logits_BK.clone() if plain_BK is None else plain_BK
        total_BK = weight * logits_BK if total_BK is None else total_BK + weight * logits_BK
    assert plain_BK is not None
    assert total_BK is not None
    return total_BK, plain_BK
