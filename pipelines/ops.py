"""Image operations as data; each pipeline maps them to its library.

All ops act on images in [0, 1] before normalisation unless they say otherwise, and draw their
parameters per sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar


@dataclass(frozen=True)
class Op:
    """Base of all ops.

    Args:
        implementations: Of a plugin's op, by the name of the library.
    """

    implementations: ClassVar[Mapping[str, Any]] = {}

    def problem(self, height: int, width: int) -> str:
        """Why it can't work on images of this size: "its pad is at most 3"; "" if it can."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Crop(Op):
    """Pads by `pad` pixels, then crops to the original size at an integer offset.

    Offsets are uniform over 0..2*pad in each direction, independent of each other. "reflect" does
    not repeat the edge pixel, as in torch and torchvision; "zero" pads with black.
    """

    pad: int = 4
    padding: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        if self.pad < 1:
            raise ValueError(f"Crop needs pad >= 1, got {self.pad}")
        if self.padding not in ("reflect", "zero"):
            raise ValueError(f"Crop padding is 'reflect' or 'zero', got {self.padding!r}")

    def problem(self, height: int, width: int) -> str:
        return _too_large("pad", self.pad, min(height, width) - 1)


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip(Op):
    """Mirrors left to right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_within("HorizontalFlip p", self.p)


@dataclass(frozen=True, kw_only=True)
class VerticalFlip(Op):
    """Mirrors top to bottom with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_within("VerticalFlip p", self.p)


@dataclass(frozen=True, kw_only=True)
class Cutout(Op):
    """Sets one `size` x `size` square per image to the data's mean (zero after normalisation).

    The square lies fully inside the image, its corner uniform over all positions (DeVries and
    Taylor 2017, with the placement of the CIFAR-10 speed records).
    """

    size: int = 8

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Cutout needs size >= 1, got {self.size}")

    def problem(self, height: int, width: int) -> str:
        return _too_large("size", self.size, min(height, width) - 1)


@dataclass(frozen=True, kw_only=True)
class AlternatingFlip(Op):
    """Mirrors each image in every other epoch, starting at random.

    Each pair of epochs thus shows both orientations of every image once (Jordan 2024,
    arXiv:2404.00498). Nothing is drawn: seed and epoch determine the flips.
    """


@dataclass(frozen=True, kw_only=True)
class RandomErasing(Op):
    """With probability `p`, sets a rectangle to the data's mean.

    Area uniform in `scale` (shares of the image), aspect ratio (height to width) log-uniform in
    `ratio`, sides rounded; drawn again, at most ten times, until it is smaller than the image in
    both directions, otherwise nothing is erased; position uniform (Zhong et al. 2017,
    arXiv:1708.04896; torchvision's rules).
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        _check_within("RandomErasing p", self.p)
        _check_range("RandomErasing scale", self.scale, low=0.0, high=1.0)
        _check_range("RandomErasing ratio", self.ratio, low=1e-3, high=1e3)

    def problem(self, height: int, width: int) -> str:
        return _no_rectangle(self, height, width, (height - 1, width - 1))


@dataclass(frozen=True, kw_only=True)
class ColorJitter(Op):
    """Changes brightness, contrast, saturation and hue, in that order.

    Factors are uniform in their ranges, 1 changes nothing; `hue` is in turns, 0 changes nothing.
    As in torchvision, contrast blends with the mean of the grey image, saturation with the grey
    image, and results are clamped to [0, 1]. The order is fixed so that libraries agree.
    """

    brightness: tuple[float, float] = (0.8, 1.2)
    contrast: tuple[float, float] = (0.8, 1.2)
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            _check_range(f"ColorJitter {name}", getattr(self, name), low=0.0, high=100.0)
        _check_range("ColorJitter hue", self.hue, low=-0.5, high=0.5)


@dataclass(frozen=True, kw_only=True)
class Affine(Op):
    """Rotates, moves and scales about the image's centre, bilinear, black outside.

    Args:
        degrees: Rotation is uniform in -degrees..degrees, counter-clockwise.
        translate: Moves by up to this share of the width and the height, in each direction, not
            rounded to pixels.
        scale: Range of the scale factor, uniform.
    """

    degrees: float = 15.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        _check_within("Affine degrees", self.degrees, high=180)
        _check_within("Affine translate", self.translate)
        _check_range("Affine scale", self.scale, low=0.01, high=100.0)


@dataclass(frozen=True, kw_only=True)
class Rotation(Op):
    """Rotates about the image's centre, bilinear, black outside: an `Affine` that only rotates.

    Args:
        degrees: The angle is uniform in -degrees..degrees, counter-clockwise.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        _check_within("Rotation degrees", self.degrees, high=180)

    @property
    def affine(self) -> Affine:
        """The same op as an `Affine`."""
        return Affine(degrees=self.degrees, translate=0.0, scale=(1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Grayscale(Op):
    """Replaces all channels by the luminance with probability `p`.

    The weights of red, green and blue are 0.2989, 0.587 and 0.114; images of one channel don't
    change.
    """

    p: float = 0.1

    def __post_init__(self) -> None:
        _check_within("Grayscale p", self.p)


@dataclass(frozen=True, kw_only=True)
class Solarize(Op):
    """Inverts all values at or above `threshold` with probability `p`."""

    threshold: float = 0.5
    p: float = 0.5

    def __post_init__(self) -> None:
        _check_within("Solarize threshold", self.threshold)
        _check_within("Solarize p", self.p)


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Op):
    """Blurs with a Gaussian kernel, reflecting at the edges without repeating the edge pixel.

    Args:
        kernel: Odd width and height of the kernel in pixels, which is normalised.
        sigma: Range of the standard deviation in pixels, uniform.
    """

    kernel: int = 3
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"GaussianBlur needs an odd kernel >= 1, got {self.kernel}")
        _check_range("GaussianBlur sigma", self.sigma, low=0.01, high=100.0)

    def problem(self, height: int, width: int) -> str:
        return _too_large("kernel", self.kernel, 2 * min(height, width) - 1)


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Op):
    """Crops a rectangle and resizes it to the image's size, bilinear.

    Area uniform in `scale`, aspect ratio (width to height) log-uniform in `ratio`, sides rounded;
    drawn again, at most ten times, until it fits, otherwise the largest central rectangle of an
    allowed ratio; position uniform (Szegedy et al. 2015, arXiv:1409.4842; torchvision's rules).
    Pixels outside the rectangle don't affect the result.
    """

    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (0.75, 4.0 / 3.0)

    def __post_init__(self) -> None:
        _check_range("RandomResizedCrop scale", self.scale, low=1e-3, high=1.0)
        _check_range("RandomResizedCrop ratio", self.ratio, low=1e-3, high=1e3)

    def problem(self, height: int, width: int) -> str:
        return _no_rectangle(self, width, height, (width, height))  # its ratio is width to height


@dataclass(frozen=True, kw_only=True)
class RandAugment(Op):
    """Applies `n` ops in a row, each drawn from 14 with equal probability, per sample.

    Magnitude `magnitude` of 0..`bins` - 1, the same for all (Cubuk et al. 2019, arXiv:1909.13719).
    Exactly torchvision's v2.RandAugment with nearest interpolation and black fill: shears to 0.3,
    moves to 150/331 of the side in whole pixels, rotations to 30 degrees, brightness, colour,
    contrast and sharpness by 1 +- 0.9, posterize to 4 bits, solarize, autocontrast, equalize,
    identity. Signs are equally likely.

    Input and output have 8 bits; floats are converted as in torchvision.
    """

    n: int = 2
    magnitude: int = 9
    bins: int = 31

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"RandAugment needs n >= 1, got {self.n}")
        _check_bins("RandAugment", self.bins)
        if not 0 <= self.magnitude < self.bins:
            raise ValueError(
                f"RandAugment magnitude lies in [0, {self.bins - 1}], got {self.magnitude}"
            )


@dataclass(frozen=True, kw_only=True)
class TrivialAugment(Op):
    """Applies one op of 14 at one of `bins` magnitudes, both uniform, per sample.

    The "wide" space (Mueller and Hutter 2021, arXiv:2103.10158). Exactly torchvision's
    v2.TrivialAugmentWide with nearest interpolation and black fill: as `RandAugment`, but shears to
    0.99, moves to 32 pixels, rotations to 135 degrees, enhancements by 1 +- 0.99, posterize to 2
    bits.
    """

    bins: int = 31

    def __post_init__(self) -> None:
        _check_bins("TrivialAugment", self.bins)


@dataclass(frozen=True, kw_only=True)
class AutoAugment(Op):
    """Applies one of 25 pairs of ops per sample, each op with its own probability.

    The pairs were found by search on CIFAR-10 (Cubuk et al. 2018, arXiv:1805.09501). Exactly
    torchvision's v2.AutoAugment with its CIFAR10 policy, nearest interpolation and black fill:
    the spaces of `RandAugment` in 10 bins, and invert.
    """

    policy: Literal["cifar10"] = "cifar10"

    def __post_init__(self) -> None:
        if self.policy != "cifar10":
            raise ValueError(f"AutoAugment policy is 'cifar10', got {self.policy!r}")


@dataclass(frozen=True, kw_only=True)
class MixUp(Op):
    """Blends each image and its label with another of the batch; the last op of a policy.

    Weights are Beta(alpha, alpha), per sample (Zhang et al. 2017, arXiv:1710.09412).
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_alpha("MixUp", self.alpha)


@dataclass(frozen=True, kw_only=True)
class CutMix(Op):
    """Pastes a rectangle of another image of the batch; the last op of a policy.

    The rectangle has the image's aspect ratio and the share 1 - Beta(alpha, alpha) of its area; its
    centre is uniform and it is cut off at the edges; labels are weighted by the pasted area (Yun et
    al. 2019, arXiv:1905.04899).
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_alpha("CutMix", self.alpha)


@dataclass(frozen=True, kw_only=True)
class RandomChoice(Op):
    """Mixes by `mix_up` with probability `p`, otherwise by `cut_mix`; the last op of a policy."""

    mix_up: MixUp = field(default_factory=MixUp)
    cut_mix: CutMix = field(default_factory=CutMix)
    p: float = 0.5

    def __post_init__(self) -> None:
        _check_within("RandomChoice p", self.p)


ImplementationT = TypeVar("ImplementationT")


def implementation_of(
    op: Op, known: Mapping[type[Op], ImplementationT], library: str
) -> ImplementationT:
    """An op's implementation in a library: one of those known to it, or the plugin op's own."""
    found: ImplementationT = known[type(op)] if type(op) in known else op.implementations[library]
    return found


AUTOMATIC = (RandAugment, TrivialAugment, AutoAugment)
MIXING = (MixUp, CutMix, RandomChoice)


def problem(ops: Sequence[Op], image_size: tuple[int, int]) -> str:
    """Why no pipeline can carry out a policy on images of (height, width) pixels; "" if one can."""
    height, width = image_size
    for op in ops:
        if reason := op.problem(height, width):
            return f"{op} does not fit images of {height} x {width} pixels: {reason}"
    mixing = [type(op).__name__ for op in ops if isinstance(op, MIXING)]
    if len(mixing) > 1:
        return f"{' and '.join(mixing)} both mix images: a policy has one such op at most"
    if mixing and not isinstance(ops[-1], MIXING):
        return f"{mixing[0]} mixes finished images: it comes last in a policy"
    if sum(isinstance(op, AlternatingFlip) for op in ops) > 1:
        return "AlternatingFlip twice mirrors every image back: a policy has one at most"
    return ""


def _too_large(name: str, pixels: int, limit: int) -> str:
    return f"its {name} is at most {limit}" if pixels > limit else ""


def _no_rectangle(
    op: RandomErasing | RandomResizedCrop, a: int, b: int, limits: tuple[int, int]
) -> str:
    """Why no area and ratio of the op give a rectangle that fits; "" if some do.

    Args:
        a, b: The image's sides in pixels; the ratio is that of the first to the second.
        limits: The longest sides of a rectangle.
    """
    low, high = op.ratio
    for share in op.scale:
        for ratio in (low, high, min(max(a / b, low), high), min(max(1.0, low), high)):
            area = share * a * b
            sides = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 1 <= sides[0] <= limits[0] and 1 <= sides[1] <= limits[1]:
                return ""
    return "no rectangle of its scale and ratio fits into them"


def _check_bins(name: str, bins: int) -> None:
    if bins < 2:
        raise ValueError(f"{name} needs bins >= 2, got {bins}")


def _check_alpha(name: str, alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(f"{name} alpha is above 0, got {alpha}")


def _check_within(name: str, value: float, *, high: int = 1) -> None:
    if not 0 <= value <= high:
        raise ValueError(f"{name} lies in [0, {high}], got {value}")


def _check_range(name: str, value: tuple[float, float], *, low: float, high: float) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} is a pair low <= high within [{low:g}, {high:g}], got {value}")
