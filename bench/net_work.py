"""What a net costs an image: arithmetic and memory traffic, counted without computing anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import architectures

IMAGES = 2  # a batch norm over one image of one pixel has nothing to average
PASSES = 5  # over an output: written, read by norm and activation, read backward, gradient in, out
aten = torch.ops.aten
# Where the two factors stand among the arguments. What lies between such operations can be fused
# into them, so that their outputs are what has to pass through memory.
FACTORS: Mapping[Any, tuple[int, ...]] = {
    aten.convolution.default: (0, 1),
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
}
ATTENTION_FACTORS = (0, 2)  # two products; each has a gradient for both of its sides


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one image in training.

    Args:
        forward_flops: Two for each multiplication of convolutions, linear layers and attention.
        train_flops: The same with the gradients; none for what stands still, nor for the image.
        values: Outputs of those layers.
    """

    forward_flops: float
    train_flops: float
    values: float

    def traffic_bytes(self, bytes_a_value: int) -> float:
        """That training has to move at least, if all between the layers is fused into them."""
        return PASSES * self.values * bytes_a_value


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what passes through it; a gradient costs as much as the product it belongs to.

    torch's own counter gives a depthwise convolution's gradient the arithmetic of a full one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = self.train = self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        attends = "scaled_dot_product" in func.__name__
        if func in FACTORS or attends:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
            factors = ATTENTION_FACTORS if attends else FACTORS[func]
            self.forward += flops
            self.train += flops * (1 + sum(args[place].requires_grad for place in factors))
            self.values += (found[0] if isinstance(found, tuple) else found).numel()
        return found


def count(architecture: str, *, classes: int, image_size: int, channels: int, width: float) -> Work:
    """Counts on tensors without memory.

    Args:
        architecture: Name of an entry.
        classes: As for `architectures.build`, like the others.
        image_size: Pixels a side.
        channels: Of the images.
        width: Of the net.

    Raises:
        RuntimeError: The net needs real numbers to run.
    """
    with torch.device("meta"):
        net = architectures.build(
            architecture, classes=classes, image_size=image_size, channels=channels, width=width
        )
        x_BCHW = torch.empty(IMAGES, channels, image_size, image_size)
    with _Counter() as counter:
        net(x_BCHW)
    return Work(
        forward_flops=counter.forward / IMAGES,
        train_flops=counter.train / IMAGES,
        values=counter.values / IMAGES,
    )


__all__ = ["Work", "count"]
