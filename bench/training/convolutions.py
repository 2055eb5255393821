"""Keeps nets on a CPU away from a faulty kernel of oneDNN.

The weight gradient of a strided 1x1 convolution of few channels, channels last, is written beyond
its workspace (oneDNN issue 6035): the process dies, or other values change. Taking the pixels first
and convolving them without a stride gives the same numbers by another kernel.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

FAULTY_BELOW = {"AVX2": 8, "AVX512": 16}  # input channels, by the capability of the CPU


class SlicedConv2d(nn.Conv2d):
    """A strided 1x1 convolution that never calls the faulty kernel."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        down, right = map(int, self.stride)
        if input.shape[2] % down or input.shape[3] % right:  # oneDNN takes another kernel
            whole_BCHW: Tensor = super()._conv_forward(input, weight, bias)
            return whole_BCHW
        x_BCHW: Tensor = functional.conv2d(input[:, :, ::down, ::right], weight, bias)
        return x_BCHW


def avoid_faulty_kernels(net: nn.Module, device: torch.device) -> None:
    """Replaces the convolutions that would call the faulty kernel, in place."""
    below = faulty_below(device)
    for module in net.modules():
        if is_affected(module, below):
            module.__class__ = SlicedConv2d


def faulty_below(device: torch.device) -> int:
    """Input channels from which the kernel is sound; 0 where it is not used."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    return FAULTY_BELOW.get(torch.backends.cpu.get_cpu_capability(), 0)


class FaultyCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes convolutions that would call the faulty kernel without being an `nn.Conv2d`.

    Args:
        device: Where the net will be trained; it may be tried elsewhere.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.below = device, faulty_below(device)
        self.found = ""

    def prepare(self, net: nn.Module) -> None:
        """Replaces affected `nn.Conv2d` modules, and forgets earlier calls."""
        avoid_faulty_kernels(net, self.device)
        self.found = ""

    def __torch_dispatch__(
        self, call: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if call is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, _, transposed, _, groups = args
            if (
                weight.shape[2:] == (1, 1)
                and weight.shape[1] < self.below
                and tuple(stride) != (1, 1)
                and not (any(padding) or transposed or groups > 1)
                and not any(size % step for size, step in zip(x.shape[2:], stride, strict=True))
            ):
                self.found = (
                    f"a 1x1 convolution of {weight.shape[1]} channels with stride {tuple(stride)} "
                    "has a faulty kernel on this CPU (oneDNN issue 6035): make it an nn.Conv2d, or "
                    "slice its input, x[:, :, ::2, ::2] for a stride of 2, and convolve that"
                )
        return call(*args, **(kwargs or {}))


def sliced(net: nn.Module) -> str:
    """Names of the convolutions that were replaced: "3.downsample.0, 5.downsample.0"."""
    named = net.named_modules()
    return ", ".join(name for name, module in named if isinstance(module, SlicedConv2d))


def is_affected(module: nn.Module, below: int) -> bool:
    """Whether a module is a strided 1x1 convolution of fewer than `below` channels."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.padding in ((0, 0), "valid")
        and module.groups == 1
        and module.in_channels < below
    )
