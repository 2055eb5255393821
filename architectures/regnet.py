"""RegNetX-200MF from torchvision's parts, with the stem and strides that CIFAR ports use."""

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import small_stem

DEPTHS = (1, 1, 4, 7)
WIDTHS = (24, 56, 152, 368)
GROUP_WIDTH = 8


def build(spec: Spec) -> nn.Module:
    """Stages at strides 1, 1, 2 and 4."""
    from torchvision.models import RegNet
    from torchvision.models.regnet import BlockParams

    spec.require_image_size("regnetx_200mf", at_least=4)  # the last stage's stride
    stages = len(DEPTHS)
    net: nn.Module = RegNet(
        BlockParams(
            depths=list(DEPTHS),
            widths=[spec.scaled(width, multiple=GROUP_WIDTH) for width in WIDTHS],
            group_widths=[GROUP_WIDTH] * stages,
            bottleneck_multipliers=[1.0] * stages,
            strides=[1, 1, 2, 2],
        ),
        num_classes=spec.classes,
        stem_width=spec.scaled(32),
    )
    small_stem(net, "stem.0", spec)
    return net


REGNETX_200MF = Architecture(
    name="regnetx_200mf",
    why="A grouped ResNet sized by a simple rule: few parameters, good accuracy.",
    reference="https://arxiv.org/abs/2003.13678; CIFAR stem and strides of kuangliu/pytorch-cifar",
    build=build,
    parameters=2_319_482,
    flops=441_720_000,
)
