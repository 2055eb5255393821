"""Network architectures for small images: one file each.

model = architectures.build("resnet18", classes=10, image_size=32, width=1.0)
model = architectures.build("timm:resnet10t")  # or "torchvision:NAME": any of their models
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor, nn


class Unfit(ValueError):
    """An architecture can't be built for a spec; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Input and output sizes and width of a net.

    Args:
        classes: Number of outputs.
        image_size: Height and width of the square input in pixels.
        channels: Input channels.
        width: Factor on the number of channels of every layer; 1.0 is the published net.

    Raises:
        ValueError: An argument is out of range.
    """

    classes: int = 10
    image_size: int = 32
    channels: int = 3
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.classes < 2 or self.channels < 1 or self.image_size < 1 or not 0 < self.width <= 16:
            raise ValueError(
                f"a net needs classes >= 2, image_size >= 1, channels >= 1 and 0 < width <= 16, "
                f"got {self.classes}, {self.image_size}, {self.channels} and {self.width}"
            )

    def scaled(self, channels: int, *, multiple: int = 8) -> int:
        """`channels` times the width, rounded to a multiple of `multiple` and at least that.

        Exactly `channels` at width 1.
        """
        if self.width == 1.0:
            return channels
        return max(multiple, round(channels * self.width / multiple) * multiple)

    def require_image_size(self, net: str, *, at_least: int, multiple_of: int = 1) -> None:
        """Raises `Unfit`, with the allowed sizes, if a net can't take this image size."""
        if self.image_size >= at_least and self.image_size % multiple_of == 0:
            return
        multiples = f"multiples of {multiple_of} from" if multiple_of > 1 else "sizes from"
        raise Unfit(
            f"{net} cannot take images of {self.image_size} x {self.image_size} pixels: "
            f"allowed are {multiples} {at_least} up"
        )


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An architecture as a catalog entry.

    Args:
        name: Name on the command line.
        why: One sentence on what it is for, shown by `bench list`.
        reference: The paper or code it follows.
        build: Builds the net with fresh random weights: images (B, C, H, W) to logits (B, classes).
            Raises `Unfit` for a spec that the net can't be built for.
        parameters: Trainable parameters for 10 classes, 32 pixels, width 1; 0 if unknown.
        flops: FLOPs of a forward pass over one image, for 10 classes, 32 pixels, width 1: two per
            multiply-add in convolutions, linear layers and attention; 0 if unknown.
        fit: Sets weights that gradients don't train from normalised training images (N, C, H, W),
            before the first step.
        scales: Whether it has a width multiplier; if not, its width is 1.
        default: Whether the default grid uses it.
        version: Raised when the net changes, so that old results are not reused.
        bf16_on_cpu: Whether bf16 was measured to train it faster than fp32 on a CPU that multiplies
            bf16 (`tests/benchmarks/cpu_settings.py`).
    """

    name: str
    why: str
    reference: str
    build: "Callable[[Spec], nn.Module]"
    parameters: int
    flops: int = 0
    fit: "Callable[[nn.Module, Tensor], None] | None" = None
    scales: bool = True
    default: bool = False
    version: int = 1
    bf16_on_cpu: bool = False


catalog = Catalog(package="architectures", entry_type=Architecture, noun="architecture")


def get(name: str) -> Architecture:
    """The architecture called `name`, or `timm:NAME` or `torchvision:NAME`.

    Raises:
        UnknownName: No architecture of that name.
        Unavailable: It can't be used here.
    """
    if ":" in name:
        from architectures import _zoo  # imports torch, which quick commands avoid

        if _zoo.is_from_zoo(name):
            return _zoo.get(name)
    return catalog.get(name)


def build(
    name: str, *, classes: int = 10, image_size: int = 32, channels: int = 3, width: float = 1.0
) -> "nn.Module":
    """A fresh net; see `Spec` for the arguments. Lazy modules are initialised by a black image.

    Raises:
        UnknownName: No architecture of that name.
        Unfit: The net can't take that image size, or that width.
        ValueError: An argument is out of range.
    """
    from torch import no_grad, zeros
    from torch.nn.parameter import is_lazy

    spec = Spec(classes=classes, image_size=image_size, channels=channels, width=width)
    net = get(name).build(spec)
    if any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
        net.eval()
        with no_grad():
            net(zeros(1, channels, image_size, image_size))
        net.train()
    return net


def output_problem(name: str, output: object, batch_size: int, classes: int) -> str:
    """How the output of a net differs from logits (batch size, classes); "" if it doesn't."""
    from torch import Tensor

    if not isinstance(output, Tensor):
        given = "None" if output is None else f"a {type(output).__name__}"
    elif output.shape != (batch_size, classes):
        given = str(tuple(output.shape))
    elif not output.is_floating_point():
        given = str(output.dtype)
    else:
        return ""
    return f"{name} gives {given}, wanted ({batch_size}, {classes})"


def problem(
    name: str,
    *,
    classes: int,
    image_size: int,
    channels: int,
    width: float,
    batch_size: int,
    device: str = "cpu",
    prepare: "Callable[[nn.Module], None]" = lambda net: None,
) -> str:
    """Why a net can't be trained on such images; "" if it can.

    Tries a pass in training and one in evaluation, on meta tensors; if that fails, with two images
    on the device.

    Args:
        prepare: Applied to the net first.
    """
    import torch

    def outputs(where: str, images: int) -> str:
        net = build(name, classes=classes, image_size=image_size, channels=channels, width=width)
        prepare(net.to(where))
        x_BCHW = torch.zeros(images, channels, image_size, image_size, device=where)
        with torch.no_grad():
            passes = ((net.train(mode), net(x_BCHW)) for mode in (True, False))
            problems = [output_problem(name, out, images, classes) for _, out in passes]
        return next(filter(None, problems), "")

    with suppress(Exception), torch.device("meta"):
        return outputs("meta", batch_size)
    try:
        return outputs(device, 2)
    except Unfit as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a net raises anything
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        return f"{name} cannot take images of {image_size} x {image_size} pixels: {reason}"
