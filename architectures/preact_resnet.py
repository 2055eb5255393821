"""Pre-activation ResNets, including wide ones."""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from architectures import Architecture, Spec
from architectures._layers import kaiming, pooled_head


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Channels of the stem and of each stage at width 1, and blocks in each stage."""

    stem: int
    widths: tuple[int, ...]
    depth: int


def wide(layers: int, factor: int) -> Shape:
    """WideResNet-`layers`-`factor`: three stages, with two convolutions a block."""
    return Shape(stem=16, widths=(16 * factor, 32 * factor, 64 * factor), depth=(layers - 4) // 6)


SHAPES = {
    "preact_resnet18": Shape(stem=64, widths=(64, 128, 256, 512), depth=2),
    "wrn16_8": wide(16, 8),
    "wrn28_10": wide(28, 10),
    "wrn40_4": wide(40, 4),
}


class Block(nn.Module):
    """(B, inputs, H, W) to (B, outputs, H / stride, W / stride); norm and ReLU come first.

    If shapes differ, the shortcut is a 1x1 convolution after norm and ReLU.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        active_BCHW = F.relu(self.norm1(x_BCHW), inplace=True)
        if self.shortcut is not None:
            x_BCHW = self.shortcut(active_BCHW)
        y_BCHW = F.relu(self.norm2(self.conv1(active_BCHW)), inplace=True)
        change_BCHW: Tensor = self.conv2(y_BCHW)
        return x_BCHW + change_BCHW


def build(name: str, spec: Spec) -> nn.Module:
    """The net called `name`, without dropout; every stage but the first halves the image."""
    shape = SHAPES[name]
    spec.require_image_size(name, at_least=2 ** (len(shape.widths) - 1))  # the last stage's stride
    channels = spec.scaled(shape.stem)
    modules: list[nn.Module] = [nn.Conv2d(spec.channels, channels, 3, padding=1, bias=False)]
    for stage, width in enumerate(shape.widths):
        for block in range(shape.depth):
            stride = 2 if stage > 0 and block == 0 else 1
            modules.append(Block(channels, spec.scaled(width), stride))
            channels = spec.scaled(width)
    modules += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    net = nn.Sequential(*modules, *pooled_head(channels, spec.classes))
    kaiming(net.modules())
    return net


WIDE = "https://arxiv.org/abs/1605.07146, without dropout"

PREACT_RESNET18 = Architecture(
    name="preact_resnet18",
    why="ResNet-18 with norm and ReLU before each convolution: shows whether the order matters.",
    reference="https://arxiv.org/abs/1603.05027; CIFAR stem of kuangliu/pytorch-cifar",
    build=partial(build, "preact_resnet18"),
    parameters=11_172_170,
    flops=1_110_845_440,
)
WRN16_8 = Architecture(
    name="wrn16_8",
    why="Shallow and wide: large matrix products, which keep a GPU busy.",
    reference=WIDE,
    build=partial(build, "wrn16_8"),
    parameters=10_961_370,
    flops=3_096_291_328,
)
WRN28_10 = Architecture(
    name="wrn28_10",
    why="The net that papers on augmentation use: ten times the arithmetic of ResNet-18.",
    reference=WIDE,
    build=partial(build, "wrn28_10"),
    parameters=36_479_194,
    flops=10_486_657_536,
)
WRN40_4 = Architecture(
    name="wrn40_4",
    why="A thin, deep WRN with fewer parameters than WRN-16-8: shows what depth costs in time.",
    reference=WIDE,
    build=partial(build, "wrn40_4"),
    parameters=8_949_210,
    flops=2_597_164_032,
)
