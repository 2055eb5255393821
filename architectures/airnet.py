"""The nets of the CIFAR-10 speed records: fixed whitening, few wide groups, scaled logits."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures import Architecture, Spec

PATCH = 2  # pixels per side of a whitened patch
WHITENING_EPS = 5e-4
WHITENING_BIAS_TRAINED_FOR = 3 / 8  # share of the run


class Norm(nn.BatchNorm2d):
    """Batch norm with a fixed scale of one."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__(channels, eps=1e-12, momentum=momentum)
        self.weight.requires_grad = False


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution without bias; the first `inputs` filters start as the identity (Dirac)."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


class Group(nn.Module):
    """(B, inputs, H, W) to (B, outputs, H / 2, W / 2) through two or three convolutions.

    With three, the first one's activation is added before the last nonlinearity.
    """

    def __init__(self, inputs: int, outputs: int, *, depth: int, momentum: float) -> None:
        super().__init__()
        channels = [inputs] + [outputs] * depth
        self.convs = nn.ModuleList(conv(before, after) for before, after in pairwise(channels))
        self.norms = nn.ModuleList(Norm(outputs, momentum) for _ in range(depth))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        first_BCHW = F.gelu(self.norms[0](F.max_pool2d(self.convs[0](x_BCHW), 2)))
        x_BCHW = self.norms[1](self.convs[1](first_BCHW))
        if len(self.convs) == 3:
            x_BCHW = first_BCHW + self.norms[2](self.convs[2](F.gelu(x_BCHW)))
        return F.gelu(x_BCHW)


class AirNet(nn.Module):
    """Images (B, C, H, W) to logits (B, classes).

    Args:
        widths: Channels of the three groups at width 1.
        depth: Convolutions in a group, two or three.
        momentum: Momentum of the batch norms, as torch defines it.
        logit_scale: Factor on the logits; None for 1 / features, with the head's initial weights
            scaled to a standard deviation of one.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        widths: tuple[int, int, int],
        depth: int,
        momentum: float,
        logit_scale: float | None,
    ) -> None:
        super().__init__()
        filters = 2 * spec.channels * PATCH**2
        self.whiten = nn.Conv2d(spec.channels, filters, PATCH)
        self.whiten.weight.requires_grad = False
        assert self.whiten.bias is not None
        if logit_scale is None:
            self.whiten.bias.trained_for = WHITENING_BIAS_TRAINED_FOR  # type: ignore[attr-defined]
        channels = [filters, *(spec.scaled(width) for width in widths)]
        self.groups = nn.Sequential(
            *(
                Group(before, after, depth=depth, momentum=momentum)
                for before, after in pairwise(channels)
            )
        )
        self.head = nn.Linear(channels[-1], spec.classes, bias=False)
        if logit_scale is None:
            self.head.weight.data /= self.head.weight.data.std()
        self.logit_scale = 1.0 / channels[-1] if logit_scale is None else logit_scale

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.groups(F.gelu(self.whiten(x_BCHW)))
        x_BC = F.max_pool2d(x_BCHW, x_BCHW.shape[2:]).flatten(1)
        logits_BK: Tensor = self.head(x_BC) * self.logit_scale
        return logits_BK


@torch.no_grad()
def fit_whitening(net: nn.Module, images_NCHW: Tensor) -> None:
    """Sets the first layer's filters to the whitening of the images' patches, and its negative.

    A filter is an eigenvector of the patches' second moment, divided by the root of its eigenvalue.
    Source: Page 2019 (bag of tricks), in the form of cifar10-airbench.
    """
    whiten = net.get_submodule("whiten")
    assert isinstance(whiten, nn.Conv2d)
    channels = images_NCHW.shape[1]
    length = channels * PATCH**2
    moment, count = images_NCHW.new_zeros(length, length), 0
    for part_NCHW in torch.split(images_NCHW, 500):
        # `F.unfold` launches a kernel for each image on a GPU
        patches_NCHWhw = part_NCHW.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
        patches_LM = patches_NCHWhw.permute(1, 4, 5, 0, 2, 3).reshape(length, -1)
        moment += patches_LM @ patches_LM.T
        count += patches_LM.shape[1]
    values, vectors = torch.linalg.eigh(moment / count)
    filters = (vectors / (values + WHITENING_EPS).sqrt()).T.reshape(-1, channels, PATCH, PATCH)
    whiten.weight.copy_(torch.cat([filters, -filters]))


def build_airnet94(spec: Spec) -> nn.Module:
    """Two convolutions per group."""
    spec.require_image_size("airnet94", at_least=16)  # whitening, then three pools
    return AirNet(spec, widths=(64, 256, 256), depth=2, momentum=0.4, logit_scale=None)


def build_airnet96(spec: Spec) -> nn.Module:
    """Three convolutions per group, wider, with a shortcut."""
    spec.require_image_size("airnet96", at_least=16)  # whitening, then three pools
    return AirNet(spec, widths=(128, 384, 512), depth=3, momentum=0.1, logit_scale=1 / 9)


REFERENCE = "https://github.com/KellerJordan/cifar10-airbench, https://arxiv.org/abs/2404.00498"
AIRNET94 = Architecture(
    name="airnet94",
    why="The net of the 94 % speed records: fixed whitening replaces a learned first layer.",
    reference=REFERENCE,
    build=build_airnet94,
    parameters=1_971_352,
    flops=236_294_720,
    fit=fit_whitening,
    bf16_on_cpu=True,
)
AIRNET96 = Architecture(
    name="airnet96",
    why="airnet94's wider and deeper variant for 96 %: the same tricks with more arithmetic.",
    reference=REFERENCE,
    build=build_airnet96,
    parameters=9_915_416,
    flops=903_934_528,
    fit=fit_whitening,
    bf16_on_cpu=True,
)
