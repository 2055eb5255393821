"""MobileNetV2 from torchvision, with the strides that CIFAR ports use."""

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import small_stem

# Expansion, channels, blocks, stride; the paper strides by 2 in the second row too.
STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def build(spec: Spec) -> nn.Module:
    """MobileNetV2 at an output stride of 8; as published, widths below 1 keep the last layer."""
    from torchvision.models import MobileNetV2

    spec.require_image_size("mobilenetv2", at_least=8)  # the last stage's stride
    net: nn.Module = MobileNetV2(
        num_classes=spec.classes,
        width_mult=spec.width,
        inverted_residual_setting=STAGES,
        dropout=0.0,
    )
    small_stem(net, "features.0.0", spec)
    return net


MOBILENETV2 = Architecture(
    name="mobilenetv2",
    why="Few multiplications: its time depends on memory traffic, not arithmetic.",
    reference="https://arxiv.org/abs/1801.04381; CIFAR strides of kuangliu/pytorch-cifar",
    build=build,
    parameters=2_236_682,
    flops=175_952_896,
)
