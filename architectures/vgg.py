"""VGG with batch norm, with the single linear layer that CIFAR ports use as its head."""

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import conv_bn_relu, kaiming, pooled_head

POOL = 0
LAYERS_A = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)


def build_vgg11_bn(spec: Spec) -> nn.Module:
    """Configuration A of the paper.

    Raises:
        ValueError: The images are smaller than 32 pixels, which five pools halve to one.
    """
    spec.require_image_size("vgg11_bn", at_least=2 ** LAYERS_A.count(POOL))
    modules: list[nn.Module] = []
    channels = spec.channels
    for width in LAYERS_A:
        if width == POOL:
            modules.append(nn.MaxPool2d(2))
            continue
        # The batch norm cancels the bias; it is kept for the published parameter count.
        modules += conv_bn_relu(channels, spec.scaled(width), bias=True)
        channels = spec.scaled(width)
    net = nn.Sequential(*modules, *pooled_head(channels, spec.classes))
    kaiming(net.modules())
    return net


VGG11_BN = Architecture(
    name="vgg11_bn",
    why="The classic deep stack of 3x3 convolutions: many parameters, little arithmetic.",
    reference="https://arxiv.org/abs/1409.1556, net A; CIFAR head of kuangliu/pytorch-cifar",
    build=build_vgg11_bn,
    parameters=9_231_114,
    default=True,
)
