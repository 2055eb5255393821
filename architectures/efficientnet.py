"""EfficientNet-B0 from torchvision, with MobileNetV2's strides for small images."""

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import small_stem

# Expansion, kernel, stride, channels before, channels after, blocks.
# The paper strides by 2 in the stem and in the second row too.
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 1, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


def build(spec: Spec) -> nn.Module:
    """EfficientNet-B0 at an output stride of 8, without dropout and stochastic depth."""
    from torchvision.models import EfficientNet
    from torchvision.models.efficientnet import MBConvConfig

    spec.require_image_size("efficientnet_b0", at_least=8)  # the last stage's stride
    net: nn.Module = EfficientNet(
        [MBConvConfig(*stage, width_mult=spec.width) for stage in STAGES],
        dropout=0.0,
        stochastic_depth_prob=0.0,
        num_classes=spec.classes,
    )
    small_stem(net, "features.0.0", spec)
    return net


EFFICIENTNET_B0 = Architecture(
    name="efficientnet_b0",
    why="MobileNetV2's blocks with squeeze-and-excitation, in sizes found by a search.",
    reference="https://arxiv.org/abs/1905.11946; strides as in mobilenetv2 here",
    build=build,
    parameters=4_020_358,
    flops=232_334_336,
)
