"""Parts shared by several convolutional nets."""

from collections.abc import Iterable, Sequence

from torch import nn

from architectures import Spec

POOL = 0  # among the layers of `plain_net`


def conv_bn_relu(inputs: int, outputs: int, *, bias: bool = False) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU: (B, inputs, H, W) to (B, outputs, H, W)."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def pooled_head(features: int, classes: int) -> list[nn.Module]:
    """Global average pooling and a linear layer: (B, features, H, W) to (B, classes)."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def kaiming(modules: Iterable[nn.Module]) -> None:
    """Initialises convolutions in place as He et al. do: normal, variance 2 / fan-out, no bias.

    Source: https://arxiv.org/abs/1502.01852
    """
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def plain_net(name: str, layers: Sequence[int], spec: Spec, *, bias: bool = False) -> nn.Module:
    """A stack of 3x3 convolutions and 2x2 max-pools.

    Args:
        name: The net's name, for errors.
        layers: The channels of each convolution at width 1, or `POOL`.
    """

    spec.require_image_size(name, at_least=2 ** layers.count(POOL))
    modules: list[nn.Module] = []
    channels = spec.channels
    for width in layers:
        if width == POOL:
            modules.append(nn.MaxPool2d(2))
            continue
        modules += conv_bn_relu(channels, spec.scaled(width), bias=bias)
        channels = spec.scaled(width)
    net = nn.Sequential(*modules, *pooled_head(channels, spec.classes))
    kaiming(net.modules())
    return net


def small_stem(net: nn.Module, path: str, spec: Spec) -> None:
    """Replaces the strided convolution at `path` by a 3x3 convolution of stride 1, in place."""
    strided = net.get_submodule(path)
    assert isinstance(strided, nn.Conv2d)
    small = nn.Conv2d(spec.channels, strided.out_channels, 3, padding=1, bias=False)
    kaiming([small])
    net.set_submodule(path, small)
