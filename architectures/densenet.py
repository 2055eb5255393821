"""DenseNet from torchvision, with the stem that CIFAR ports use."""

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import small_stem


def build(spec: Spec) -> nn.Module:
    """Blocks of 6, 12, 24 and 16 layers, each adding 32 channels, at strides 1, 2, 4 and 8."""
    from torchvision.models import DenseNet

    spec.require_image_size("densenet121", at_least=8)  # the last block's stride
    net: nn.Module = DenseNet(
        growth_rate=spec.scaled(32, multiple=4),
        block_config=(6, 12, 24, 16),
        num_init_features=spec.scaled(64),
        num_classes=spec.classes,
    )
    small_stem(net, "features.conv0", spec)
    net.set_submodule("features.pool0", nn.Identity())
    return net


DENSENET121 = Architecture(
    name="densenet121",
    why="Every layer reads all earlier ones: few parameters, much memory traffic.",
    reference="https://arxiv.org/abs/1608.06993; CIFAR stem of kuangliu/pytorch-cifar",
    build=build,
    parameters=6_956_426,
    flops=1_776_701_440,
)
