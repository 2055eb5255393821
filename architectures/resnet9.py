"""ResNet-9, the net of Page's DAWNBench entry: shallow, wide, two shortcuts."""

from torch import Tensor, nn
from torch.nn import functional as F

from architectures import Architecture, Spec
from architectures._layers import conv_bn_relu

LOGIT_SCALE = 0.125


class Residual(nn.Module):
    """x + f(x), where f is two convolutions; keeps the shape (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_bn_relu(channels, channels), *conv_bn_relu(channels, channels)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        change_BCHW: Tensor = self.body(x_BCHW)
        return x_BCHW + change_BCHW


class ResNet9(nn.Module):
    """Images (B, C, H, W) to logits (B, classes), with torch's default initialisation."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        first, second, third, last = (spec.scaled(width) for width in (64, 128, 256, 512))
        self.blocks = nn.Sequential(
            *conv_bn_relu(spec.channels, first),
            *conv_bn_relu(first, second),
            nn.MaxPool2d(2),
            Residual(second),
            *conv_bn_relu(second, third),
            nn.MaxPool2d(2),
            *conv_bn_relu(third, last),
            nn.MaxPool2d(2),
            Residual(last),
        )
        self.head = nn.Linear(last, spec.classes, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.blocks(x_BCHW)
        x_BC = F.max_pool2d(x_BCHW, x_BCHW.shape[2:]).flatten(1)
        logits_BK: Tensor = self.head(x_BC) * LOGIT_SCALE
        return logits_BK


def build(spec: Spec) -> nn.Module:
    """The net as published."""
    spec.require_image_size("resnet9", at_least=8)  # three pools
    return ResNet9(spec)


RESNET9 = Architecture(
    name="resnet9",
    why="The net that reached 94 % in about a minute: shallow, wide, with two shortcuts.",
    reference="https://myrtle.ai/learn/how-to-train-your-resnet/, the net of 6.57 M parameters",
    build=build,
    parameters=6_573_120,
    flops=758_523_904,
    bf16_on_cpu=True,
)
