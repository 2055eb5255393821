"""ResNets with the stem that CIFAR ports use: one 3x3 convolution and no max-pool."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from architectures import Architecture, Spec
from architectures._layers import kaiming, pooled_head

WIDTHS = (64, 128, 256, 512)


def stage(inputs: int, outputs: int, *, blocks: int, stride: int) -> list[nn.Module]:
    """`blocks` basic blocks; the first strides, and projects its shortcut where shapes differ."""
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = BasicBlock(inputs, outputs, stride, downsample)
    return [first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1))]


class ResNet(nn.Module):
    """Images (B, C, H, W) to logits (B, classes) through four stages at strides 1, 2, 4 and 8.

    Args:
        spec: What the net is built for.
        depths: Blocks in each stage.
    """

    def __init__(self, spec: Spec, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        channels = spec.scaled(WIDTHS[0])
        self.stem = nn.Sequential(
            nn.Conv2d(spec.channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        for index, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            outputs = spec.scaled(width)
            blocks += stage(channels, outputs, blocks=depth, stride=1 if index == 0 else 2)
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*pooled_head(channels, spec.classes))
        kaiming(self.modules())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.blocks(self.stem(x_BCHW)))
        return logits_BK


def build_resnet18(spec: Spec) -> nn.Module:
    """Two blocks a stage.

    Raises:
        ValueError: The images are smaller than 8 pixels, the stride of the last stage.
    """
    spec.require_image_size("resnet18", at_least=8)
    return ResNet(spec, (2, 2, 2, 2))


def build_resnet34(spec: Spec) -> nn.Module:
    """Three, four, six and three blocks.

    Raises:
        ValueError: The images are smaller than 8 pixels, the stride of the last stage.
    """
    spec.require_image_size("resnet34", at_least=8)
    return ResNet(spec, (3, 4, 6, 3))


REFERENCE = "https://arxiv.org/abs/1512.03385; CIFAR stem of kuangliu/pytorch-cifar"

RESNET18 = Architecture(
    name="resnet18",
    why="The net everybody compares with: 95 % on CIFAR-10 without tricks.",
    reference=REFERENCE,
    build=build_resnet18,
    parameters=11_173_962,
    default=True,
)
RESNET34 = Architecture(
    name="resnet34",
    why="Twice as deep as ResNet-18: whether depth pays in a short budget.",
    reference=REFERENCE,
    build=build_resnet34,
    parameters=21_282_122,
)
