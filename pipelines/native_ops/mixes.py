"""Native ops that mix images and labels of a batch, on normalised images, with a weight per sample.

Each image is mixed with its neighbour in the batch. The order of samples is random already, so a
fixed partner is as good as a random one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.ops import CutMix, MixUp, Op, RandomChoice


@dataclass(frozen=True, kw_only=True)
class Mix:
    """An op type that mixes images of a batch.

    Args:
        weight: (op, count, generator) to Beta draws float32 (count,) on the generator's device;
            (2, count) for `RandomChoice`.
        draws: Number of additional uniform draws per sample.
        apply: (op, images (B, C, H, W), weight (B,), draws (B, draws)) to mixed images, and each
            image's own share (B,).
    """

    weight: Callable[..., Tensor]
    draws: int
    apply: Callable[..., tuple[Tensor, Tensor]]


def beta(op: MixUp | CutMix, count: int, generator: torch.Generator) -> Tensor:
    """Beta(alpha, alpha) numbers, from the ratio of two gamma variables."""
    alpha = torch.full((2, count), op.alpha, device=generator.device)
    gammas = torch._standard_gamma(alpha, generator).clamp(min=torch.finfo(torch.float32).tiny)
    return gammas[0] / gammas.sum(dim=0)


def mix_up(op: MixUp, x_BCHW: Tensor, weight_B: Tensor, u_B0: Tensor) -> tuple[Tensor, Tensor]:
    """A weighted mean with the neighbouring image."""
    own_B111 = weight_B[:, None, None, None].to(x_BCHW.dtype)
    return x_BCHW.roll(1, 0) * (1 - own_B111) + x_BCHW * own_B111, weight_B


def cut_mix(op: CutMix, x_BCHW: Tensor, weight_B: Tensor, u_B2: Tensor) -> tuple[Tensor, Tensor]:
    """A rectangle of the neighbouring image, cut off at the edges."""
    height, width = x_BCHW.shape[2:]
    side_B = 0.5 * (1.0 - weight_B).sqrt()
    masks, lengths = [], []
    for size, u_B in ((height, u_B2[:, 0]), (width, u_B2[:, 1])):
        centre_B = (u_B * size).floor()
        half_B = (side_B * size).floor()
        start_B, end_B = (centre_B - half_B).clamp(min=0), (centre_B + half_B).clamp(max=size)
        steps = torch.arange(size, device=x_BCHW.device)
        masks.append((steps >= start_B[:, None]) & (steps < end_B[:, None]))
        lengths.append(end_B - start_B)
    pasted_B1HW = masks[0][:, None, :, None] & masks[1][:, None, None, :]
    own_B = 1.0 - lengths[0] * lengths[1] / (height * width)
    return torch.where(pasted_B1HW, x_BCHW.roll(1, 0), x_BCHW), own_B


def choice_weights(op: RandomChoice, count: int, generator: torch.Generator) -> Tensor:
    """The weights of both ops: (2, count)."""
    return torch.stack([beta(each, count, generator) for each in (op.mix_up, op.cut_mix)])


def random_choice(
    op: RandomChoice, x_BCHW: Tensor, weight_2B: Tensor, u_B3: Tensor
) -> tuple[Tensor, Tensor]:
    """Does both, and takes one per image; the last draw chooses."""
    blended_BCHW, blended_own_B = mix_up(op.mix_up, x_BCHW, weight_2B[0], u_B3[:, :0])
    pasted_BCHW, pasted_own_B = cut_mix(op.cut_mix, x_BCHW, weight_2B[1], u_B3[:, :2])
    blends_B = u_B3[:, 2] < op.p
    x_BCHW = torch.where(blends_B[:, None, None, None], blended_BCHW, pasted_BCHW)
    return x_BCHW, torch.where(blends_B, blended_own_B, pasted_own_B)


def mixed_labels(labels_B: Tensor, own_B: Tensor, classes: int) -> Tensor:
    """float32 (B, classes): the image's share for its label, the rest for its neighbour's."""
    class_K = torch.arange(classes, device=labels_B.device)
    # torch's one_hot reads values back to the host.
    one_hot_BK = (labels_B[:, None] == class_K).to(torch.float32)
    own_B1 = own_B[:, None].to(torch.float32)
    return one_hot_BK * own_B1 + one_hot_BK.roll(1, 0) * (1.0 - own_B1)


MIXES: dict[type[Op], Mix] = {
    MixUp: Mix(weight=beta, draws=0, apply=mix_up),
    CutMix: Mix(weight=beta, draws=2, apply=cut_mix),
    RandomChoice: Mix(weight=choice_weights, draws=3, apply=random_choice),
}
