"""ConvMixer-256/8 from timm, with the patch and kernel sizes its authors use on CIFAR-10."""

from torch import nn

from architectures import Architecture, Spec

PATCH = 2


def build(spec: Spec) -> nn.Module:
    """256 channels, 8 blocks, patches of 2 x 2, depthwise kernels of 5 x 5."""
    from timm.models.convmixer import ConvMixer  # slow to import, so only when a net is built

    spec.require_image_size("convmixer", at_least=4, multiple_of=PATCH)
    net: nn.Module = ConvMixer(
        dim=spec.scaled(256),
        depth=8,
        kernel_size=5,
        patch_size=PATCH,
        in_chans=spec.channels,
        num_classes=spec.classes,
    )
    return net


CONVMIXER = Architecture(
    name="convmixer",
    why="Patches mixed by convolutions at one resolution: a transformer's layout, no attention.",
    reference="https://arxiv.org/abs/2201.09792, ConvMixer-256/8, patch 2, kernel 5",
    build=build,
    parameters=594_186,
    flops=296_227_840,
    default=True,
)
