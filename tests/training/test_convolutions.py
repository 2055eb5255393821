"""Strided 1x1 convolutions of few channels on a CPU: the same numbers by a sound kernel."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import architectures
from architectures import Architecture, Spec, Unfit
from bench.training.convolutions import SlicedConv2d, avoid_faulty_kernels, is_affected, sliced
from bench.training.setup import check_net
from tests.made import made_cell
from tests.made_device import made_data

CPU = torch.device("cpu")
KERNELS = """
import torch
from torch import nn
from bench.training.convolutions import SlicedConv2d
for kind in (nn.Conv2d, SlicedConv2d):
    net = kind(8, 16, 1, stride=2).to(memory_format=torch.channels_last)
    x = torch.randn(4, 8, 24, 24).contiguous(memory_format=torch.channels_last)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        print(kind.__name__, flush=True)
        net(x).sum().backward()
"""


def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = net(x)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    (y * weights.contiguous(memory_format=torch.channels_last)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
@pytest.mark.parametrize("channels", [2, 3, 4, 8, 12])
@pytest.mark.parametrize("size", [12, 13, 48])
def test_a_sliced_convolution_gives_the_numbers_of_a_contiguous_one(
    size: int, channels: int, stride: int | tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    contiguous = nn.Conv2d(channels, 16, 1, stride=stride, bias=bias)
    net = deepcopy(contiguous).to(memory_format=torch.channels_last)
    net.__class__ = SlicedConv2d
    x = torch.randn(8, channels, size, size)
    expected = gradients(contiguous, x)
    found = gradients(net, x.contiguous(memory_format=torch.channels_last))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("net", "affected"),
    [
        (nn.Conv2d(8, 16, 1, stride=2), True),
        (nn.Conv2d(3, 8, 1, stride=(1, 4)), True),
        (nn.Conv2d(16, 16, 1, stride=2), False),
        (nn.Conv2d(8, 16, 1), False),
        (nn.Conv2d(8, 16, 3, stride=2), False),
        (nn.Conv2d(8, 16, 1, stride=2, padding=1), False),
        (nn.Conv2d(8, 16, 1, stride=2, groups=8), False),
        (nn.Conv1d(8, 16, 1, stride=2), False),
    ],
)
def test_strided_1x1_convolutions_of_few_channels_are_hit(net: nn.Module, affected: bool) -> None:
    assert is_affected(net, 16) is affected


class Strided(nn.Conv2d):
    """A convolution of another type, or one that a function makes."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = functional.conv2d(x_BCHW, self.weight, None, self.stride, groups=self.groups)
        return y_BCHW


@pytest.mark.parametrize(
    ("build", "size", "refused"),
    [
        (lambda: Strided(3, 10, 1, stride=2), 32, True),
        (lambda: Strided(3, 10, 1, stride=(1, 2)), 32, True),
        (lambda: Strided(3, 10, 1, stride=2), 33, False),
        (lambda: Strided(3, 10, 1), 32, False),
        (lambda: Strided(3, 10, 3, stride=2), 32, False),
        (lambda: nn.Sequential(nn.Conv2d(3, 16, 1), Strided(16, 10, 1, stride=2)), 32, False),
        (lambda: nn.Conv2d(3, 10, 1, stride=2), 32, False),
        (lambda: nn.LazyConv2d(10, 1, stride=2), 32, False),
    ],
)
def test_a_net_that_would_call_the_faulty_kernel_otherwise_is_refused(
    build: Callable[[], nn.Module], size: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")

    def net(spec: Spec) -> nn.Module:
        return nn.Sequential(build(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    mine = Architecture(name="mine", why="-", reference="-", build=net, parameters=0)
    monkeypatch.setattr(architectures, "get", lambda name: mine)
    cell, data = made_cell(architecture="mine", batch_size=8), made_data([0, 1] * 8, size=size)
    images = replace(data.train, classes=tuple(map(str, range(10))))
    check_net(cell, images, torch.device("cuda"))
    with (
        pytest.raises(Unfit, match="mine cannot be trained here: a 1x1 convolution of 3 ")
        if (refused)
        else nullcontext()
    ):
        check_net(cell, images, CPU)


@pytest.mark.parametrize(("capability", "count"), [("AVX512", 1), ("AVX2", 0), ("DEFAULT", 0)])
def test_a_thin_net_is_mended(capability: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    net = architectures.build("resnet18", classes=10, image_size=32, channels=3, width=0.125)
    before = net.state_dict()
    avoid_faulty_kernels(net, torch.device("cuda"))
    assert not sliced(net)
    avoid_faulty_kernels(net, CPU)
    assert len(sliced(net).split(", ")) == 1
    assert sum(isinstance(module, SlicedConv2d) for module in net.modules()) == count
    assert net.state_dict().keys() == before.keys()


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="the CPU has no AVX-512"
)
def test_the_faulty_kernel_is_no_longer_called() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERNELS], capture_output=True, text=True, check=False
    )
    plain, _, mended = done.stdout.partition("SlicedConv2d")
    faulty = [line for line in mended.splitlines() if "backward_weights" in line]
    assert "backward_weights" in plain
    assert faulty
    assert not any("kw1sw2" in line for line in faulty)
