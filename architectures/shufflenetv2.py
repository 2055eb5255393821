"""ShuffleNetV2 from torchvision, with the stem that CIFAR ports use."""

from functools import cache

import torch
from torch import Tensor, nn

from architectures import Architecture, Spec
from architectures._layers import small_stem

STAGES = (24, 116, 232, 464, 1024)


@cache
def unit() -> type[nn.Module]:
    """torchvision's unit with a shuffle that keeps channels_last without a copy."""
    from torchvision.models.shufflenetv2 import InvertedResidual

    class Unit(InvertedResidual):  # type: ignore[misc]
        def forward(self, x_BCHW: Tensor) -> Tensor:
            if self.stride == 1:
                kept_BCHW, x_BCHW = x_BCHW.chunk(2, dim=1)
            else:
                kept_BCHW = self.branch1(x_BCHW)
            return shuffled(torch.cat((kept_BCHW, self.branch2(x_BCHW)), dim=1))

    return Unit


def shuffled(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) with the channels of both halves interleaved, in channels_last."""
    batch, channels, height, width = x_BCHW.shape
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    halves_BHW2C = x_BHWC.reshape(batch, height, width, 2, channels // 2)
    interleaved_BHWC = halves_BHW2C.transpose(3, 4).reshape(batch, height, width, channels)
    return interleaved_BHWC.permute(0, 3, 1, 2)


def build(spec: Spec) -> nn.Module:
    """The net of width 1x, at an output stride of 8."""
    from torchvision.models import ShuffleNetV2

    spec.require_image_size("shufflenetv2", at_least=8)  # the last stage's stride
    net: nn.Module = ShuffleNetV2(
        [4, 8, 4],
        [spec.scaled(channels) for channels in STAGES],
        num_classes=spec.classes,
        inverted_residual=unit(),
    )
    small_stem(net, "conv1.0", spec)
    net.set_submodule("maxpool", nn.Identity())
    return net


SHUFFLENETV2 = Architecture(
    name="shufflenetv2",
    why="Designed for speed, not few multiplications: shows whether it beats MobileNetV2.",
    reference="https://arxiv.org/abs/1807.11164, 1x; CIFAR stem of kuangliu/pytorch-cifar",
    build=build,
    parameters=1_263_854,
    flops=90_004_224,
)
