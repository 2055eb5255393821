"""VGG with batch norm, with the single linear layer that CIFAR ports use as its head."""

from functools import partial

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import POOL, plain_net

LAYERS = {
    "vgg11_bn": (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL),
    "vgg16_bn": (
        *(64, 64, POOL),
        *(128, 128, POOL),
        *(256, 256, 256, POOL),
        *(512, 512, 512, POOL),
        *(512, 512, 512, POOL),
    ),
}


def build(name: str, spec: Spec) -> nn.Module:
    """The net called `name`: 3x3 convolutions and pools as in `LAYERS`."""
    # Batch norm cancels the bias, which is kept for the published number of parameters.
    return plain_net(name, LAYERS[name], spec, bias=True)


VGG11_BN = Architecture(
    name="vgg11_bn",
    why="The classic deep stack of 3x3 convolutions: many parameters, little arithmetic.",
    reference="https://arxiv.org/abs/1409.1556, net A; CIFAR head of kuangliu/pytorch-cifar",
    build=partial(build, "vgg11_bn"),
    parameters=9_231_114,
    flops=305_539_072,
    default=True,
    bf16_on_cpu=True,
)
VGG16_BN = Architecture(
    name="vgg16_bn",
    why="VGG as most papers use it: shows what VGG-11 gains from depth without shortcuts.",
    reference="https://arxiv.org/abs/1409.1556, net D; CIFAR head of kuangliu/pytorch-cifar",
    build=partial(build, "vgg16_bn"),
    parameters=14_728_266,
    flops=626_403_328,
)
