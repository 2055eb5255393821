"""The spaces of the automatic policies, as tables of numbers.

Each op at each magnitude and sign is one row. Looking up a row chooses an op without branches.
Names, magnitudes and the CIFAR-10 pairs are those of torchvision and the papers.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

SIGNED = (
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness",
)  # fmt: skip
OPS = ("Identity", *SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")

NOTHING, MEAN, GREY, SMOOTH = range(4)  # the image to blend in
STRETCH, EQUALIZE = 1, 2
Size = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True, kw_only=True)
class Row:
    """One op at one magnitude; the defaults leave an image unchanged.

    Args:
        xx: A pixel comes from the source column xx * x + xy * y + x0, where x and y count from the
            image's centre; in a table, in half widths of the image.
        yx: Its source row is yx * x + yy * y + y0; in a table, in half heights.
        factor: Multiplies a pixel.
        weight: Weight of the added image `towards`.
        towards: NOTHING, MEAN (of the grey image), GREY or SMOOTH (minus the pixel itself).
        bits: Mask of the kept bits.
        threshold: Lowest value that is inverted.
        histogram: STRETCH to the full range, EQUALIZE, or 0.
    """

    xx: float = 1.0
    xy: float = 0.0
    x0: float = 0.0
    yx: float = 0.0
    yy: float = 1.0
    y0: float = 0.0
    factor: float = 1.0
    weight: float = 0.0
    towards: float = NOTHING
    bits: float = 255.0
    threshold: float = 256.0
    histogram: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest magnitudes of a space.

    Args:
        shear: Share of the side.
        moves: Pixels, horizontal and vertical.
        turn: Degrees of rotation.
        enhance: Change of brightness, colour, contrast and sharpness.
        bits: Removed by posterize.
    """

    shear: float
    moves: tuple[float, float]
    turn: float
    enhance: float
    bits: int


def narrow(size: Size) -> Limits:
    """The limits of RandAugment and AutoAugment."""
    moves = 150.0 / 331.0 * size[1], 150.0 / 331.0 * size[0]
    return Limits(shear=0.3, moves=moves, turn=30.0, enhance=0.9, bits=4)


WIDE = Limits(shear=0.99, moves=(32.0, 32.0), turn=135.0, enhance=0.99, bits=6)


def magnitudes(name: str, limits: Limits, bins: int) -> list[float]:
    """The magnitudes of an op, rounded to float32 as in torchvision."""
    if name == "Posterize":
        return (8 - torch.arange(bins) / ((bins - 1) / limits.bits)).round().tolist()
    if name == "Solarize":
        return torch.linspace(1.0, 0.0, bins).tolist()
    ends = {
        "ShearX": limits.shear,
        "ShearY": limits.shear,
        "TranslateX": limits.moves[0],
        "TranslateY": limits.moves[1],
        "Rotate": limits.turn,
    }
    if name not in SIGNED:
        return [0.0] * bins
    return torch.linspace(0.0, ends.get(name, limits.enhance), bins).tolist()


def row(name: str, magnitude: float, size: Size) -> Row:
    """The row of an op at a signed magnitude."""
    height, width, channels = size
    turn = math.radians(magnitude)
    weight, factor = 1.0 - (1.0 + magnitude), 1.0 + magnitude
    rows: Mapping[str, Row] = {
        "Identity": Row(),
        # Shears keep the upper left corner, rotations the centre.
        "ShearX": Row(xy=magnitude, x0=magnitude * height / 2),
        "ShearY": Row(yx=magnitude, y0=magnitude * width / 2),
        "TranslateX": Row(x0=-float(int(magnitude))),
        "TranslateY": Row(y0=-float(int(magnitude))),
        "Rotate": Row(xx=math.cos(turn), xy=-math.sin(turn), yx=math.sin(turn), yy=math.cos(turn)),
        "Brightness": Row(factor=factor),
        "Contrast": Row(factor=factor, weight=weight, towards=MEAN),
        "Color": Row(factor=factor, weight=weight, towards=GREY) if channels > 1 else Row(),
        "Sharpness": Row(weight=weight, towards=SMOOTH),
        "Posterize": Row(bits=256.0 - 2.0 ** (8 - int(magnitude))),
        "Solarize": Row(threshold=255.0 * magnitude),
        "AutoContrast": Row(histogram=STRETCH),
        "Equalize": Row(histogram=EQUALIZE),
        "Invert": Row(threshold=0.0),
    }
    return rows[name]


def table(rows: list[Row], size: Size) -> Tensor:
    """float32 (rows, fields), coordinates in half sides."""
    table_RF = torch.tensor([astuple(row) for row in rows])
    table_RF[:, 0:3] /= 0.5 * size[1]
    table_RF[:, 3:6] /= 0.5 * size[0]
    return table_RF


def space(limits: Limits, bins: int, at: range, size: Size) -> Tensor:
    """All 14 ops at the magnitudes `at`, with both signs: float32 (14 * magnitudes * 2, fields).

    The sign varies fastest, the op slowest.
    """
    rows = []
    for name in OPS:
        scale = magnitudes(name, limits, bins)
        for index in at:
            negative = -scale[index] if name in SIGNED else scale[index]
            rows += [row(name, negative, size), row(name, scale[index], size)]
    return table(rows, size)


# Op, probability and magnitude (of 10) for each op of a pair (Cubuk et al. 2018, table 7).
CIFAR10: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)


def pairs(size: Size) -> Tensor:
    """float32 (2, 25 * 2 + 1, 1 + fields): first and second op of each pair with both signs.

    The first column is the op's probability; the last row leaves an image unchanged.
    """
    steps = []
    for step in (0, 1):
        chosen = [pair[step] for pair in CIFAR10]
        rows = []
        for name, _, index in chosen:
            magnitude = magnitudes(name, narrow(size), 10)[index]
            negative = -magnitude if name in SIGNED else magnitude
            rows += [row(name, negative, size), row(name, magnitude, size)]
        chances = torch.tensor([chance for _, chance, _ in chosen] + [1.0]).repeat_interleave(2)
        rows.append(Row())
        steps.append(torch.cat([chances[:-1, None], table(rows, size)], dim=1))
    return torch.stack(steps)
