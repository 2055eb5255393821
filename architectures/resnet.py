"""ResNets with the stem that CIFAR ports use: one 3x3 convolution and no max-pool."""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from architectures import Architecture, Spec
from architectures._layers import conv_bn_relu, kaiming, pooled_head


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The hyperparameters of a ResNet.

    Args:
        depths: Blocks in each stage.
        widths: Channels of each stage at width 1, before a bottleneck's fourfold expansion.
        bottleneck: Blocks of 1x1, 3x3 and 1x1 convolutions instead of two of 3x3.
        groups: Groups of the 3x3 convolution in a bottleneck.
        padded: Whether shortcuts pad with zeros instead of using a 1x1 convolution.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    groups: int = 1
    padded: bool = False


SHAPES = {
    "resnet18": Shape(depths=(2, 2, 2, 2)),
    "resnet34": Shape(depths=(3, 4, 6, 3)),
    "resnet50": Shape(depths=(3, 4, 6, 3), bottleneck=True),
    "resnext29_2x64d": Shape(depths=(3, 3, 3), widths=(64, 128, 256), bottleneck=True, groups=2),
    "resnet20": Shape(depths=(3, 3, 3), widths=(16, 32, 64), padded=True),
    "resnet56": Shape(depths=(9, 9, 9), widths=(16, 32, 64), padded=True),
}


class Padded(nn.Module):
    """Takes every `stride`-th pixel and adds `more` zero channels: (B, C + more, H, W)."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = x_BCHW[:, :, :: self.stride, :: self.stride]
        return F.pad(x_BCHW, (0, 0, 0, 0, 0, self.more))


def stage(inputs: int, width: int, shape: Shape, *, blocks: int, stride: int) -> list[nn.Module]:
    """`blocks` blocks; the first has the stride, and adapts its shortcut if shapes differ."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    outputs = width * Bottleneck.expansion if shape.bottleneck else width
    block = partial(Bottleneck, groups=shape.groups) if shape.bottleneck else BasicBlock
    downsample: nn.Module | None = None
    if stride != 1 or inputs != outputs:
        downsample = (
            Padded(outputs - inputs, stride)
            if shape.padded
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )
    first = block(inputs, width, stride, downsample)
    return [first, *(block(outputs, width) for _ in range(blocks - 1))]


class ResNet(nn.Module):
    """Images (B, C, H, W) to logits (B, classes) through stages at strides 1, 2, 4 and so on."""

    def __init__(self, spec: Spec, shape: Shape) -> None:
        from torchvision.models.resnet import Bottleneck

        super().__init__()
        channels = spec.scaled(shape.widths[0])
        self.stem = nn.Sequential(*conv_bn_relu(spec.channels, channels))
        blocks: list[nn.Module] = []
        for index, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
            stride = 1 if index == 0 else 2
            blocks += stage(channels, spec.scaled(width), shape, blocks=depth, stride=stride)
            channels = spec.scaled(width) * (Bottleneck.expansion if shape.bottleneck else 1)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*pooled_head(channels, spec.classes))
        kaiming(self.modules())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.blocks(self.stem(x_BCHW)))
        return logits_BK


def build(name: str, spec: Spec) -> nn.Module:
    """The net called `name`."""
    shape = SHAPES[name]
    spec.require_image_size(name, at_least=2 ** (len(shape.depths) - 1))  # the last stage's stride
    return ResNet(spec, shape)


PAPER = "https://arxiv.org/abs/1512.03385"
REFERENCE = f"{PAPER}; CIFAR stem of kuangliu/pytorch-cifar"

RESNET18 = Architecture(
    name="resnet18",
    why="The usual baseline: 95 % on CIFAR-10 without tricks.",
    reference=REFERENCE,
    build=partial(build, "resnet18"),
    parameters=11_173_962,
    flops=1_110_845_440,
    default=True,
    bf16_on_cpu=True,
)
RESNET34 = Architecture(
    name="resnet34",
    why="Twice as deep as ResNet-18: shows whether depth pays in a short budget.",
    reference=REFERENCE,
    build=partial(build, "resnet34"),
    parameters=21_282_122,
    flops=2_318_804_992,
    bf16_on_cpu=True,
)
RESNET50 = Architecture(
    name="resnet50",
    why="The net of most ImageNet benchmarks: as many blocks as ResNet-34, more channels.",
    reference=REFERENCE,
    build=partial(build, "resnet50"),
    parameters=23_520_842,
    flops=2_595_659_776,
)
RESNEXT29_2X64D = Architecture(
    name="resnext29_2x64d",
    why="ResNet's bottlenecks with two groups: grouped convolutions with few, wide groups.",
    reference="https://arxiv.org/abs/1611.05431; cardinality 2 of kuangliu/pytorch-cifar",
    build=partial(build, "resnext29_2x64d"),
    parameters=9_130_314,
    flops=2_822_131_712,
)
RESNET20 = Architecture(
    name="resnet20",
    why="The smallest ResNet made for CIFAR-10: a quarter of a million parameters.",
    reference=f"{PAPER}, section 4.2",
    build=partial(build, "resnet20"),
    parameters=269_722,
    flops=81_102_080,
)
RESNET56 = Architecture(
    name="resnet56",
    why="ResNet-20 almost three times as deep: many small kernels, one after another.",
    reference=f"{PAPER}, section 4.2",
    build=partial(build, "resnet56"),
    parameters=853_018,
    flops=250_971_392,
)
