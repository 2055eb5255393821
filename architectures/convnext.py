"""ConvNeXt-tiny from torchvision, with patches of 2 x 2 pixels."""

from torch import nn

from architectures import Architecture, Spec

PATCH = 2
WIDTHS = (96, 192, 384, 768)
DEPTHS = (3, 3, 9, 3)


def build(spec: Spec) -> nn.Module:
    """Stages at strides 2, 4, 8 and 16, without stochastic depth."""
    from torchvision.models import ConvNeXt
    from torchvision.models.convnext import CNBlockConfig

    stride = 8 * PATCH  # of the last stage
    spec.require_image_size("convnext_tiny", at_least=stride, multiple_of=stride)
    widths = [spec.scaled(width) for width in WIDTHS]
    net: nn.Module = ConvNeXt(
        [
            CNBlockConfig(before, after, depth)
            for before, after, depth in zip(widths, [*widths[1:], None], DEPTHS, strict=True)
        ],
        num_classes=spec.classes,
    )
    stem = nn.Conv2d(spec.channels, widths[0], PATCH, stride=PATCH)
    nn.init.trunc_normal_(stem.weight, std=0.02)  # as torchvision initialises its other layers
    assert stem.bias is not None
    nn.init.zeros_(stem.bias)
    net.set_submodule("features.0.0", stem)
    return net


CONVNEXT_TINY = Architecture(
    name="convnext_tiny",
    why="A ResNet with a transformer's design: large kernels, layer norm, few activations.",
    reference="https://arxiv.org/abs/2201.03545, patch 2",
    build=build,
    parameters=27_824_362,
    flops=725_554_176,
)
