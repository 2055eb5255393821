"""Test-time augmentation: logits averaged over views of each image."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 1  # pixels
WEIGHTS = {1: [1.0], 2: [0.5, 0.5], 6: [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]}


def views(images_BCHW: Tensor, count: int) -> list[Tensor]:
    """The image; for 2 also its mirror image; for 6 also both shifted up-left and down-right.

    Shifted images are padded by reflection. Source: cifar10-airbench.
    """
    plain = [images_BCHW]
    if count == 1:
        return plain
    if count == 6:
        height, width = images_BCHW.shape[2:]
        padded = F.pad(images_BCHW, (SHIFT,) * 4, mode="reflect")
        plain.append(padded[:, :, :height, :width])
        plain.append(padded[:, :, 2 * SHIFT :, 2 * SHIFT :])
    return [view for image in plain for view in (image, image.flip(3))]


def averaged_logits(
    model: Callable[[Tensor], Tensor], images_BCHW: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Logits float32 (B, classes): averaged over the views, and of the image itself."""
    memory_format = (
        torch.channels_last
        if images_BCHW.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    first_BK = average_BK = torch.empty(0)
    for number, view in enumerate(views(images_BCHW, count)):
        logits_BK = model(view.contiguous(memory_format=memory_format)).float()
        weighted_BK = WEIGHTS[count][number] * logits_BK
        if number == 0:
            first_BK, average_BK = logits_BK.clone(), weighted_BK
        else:
            average_BK = average_BK + weighted_BK
    return average_BK, first_BK
