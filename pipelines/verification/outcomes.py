"""All possible outcomes of an automatic policy, from torchvision's spaces and ops."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.ops import AutoAugment, Op, RandAugment, TrivialAugment

SIZE = 32  # pixels; the wide space moves by up to 32
Step = tuple[str, float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One possible result of a policy's draws.

    Args:
        uniforms: Draws of the native op that give it.
        steps: torchvision's names of the ops, and their signed magnitudes.
        chance: Probability.
        labels: Its class by op, and its class by sign, magnitude, or applied ops.
    """

    uniforms: tuple[float, ...]
    steps: tuple[Step, ...]
    chance: float
    labels: tuple[str, str]


def signed(space: dict[str, Any], name: str, bins: int, at: int, sign: int, size: int) -> float:
    """A signed magnitude in torchvision's space; sign 0 is minus."""
    make, has_sign = space[name]
    found = make(bins, size, size)
    magnitude = 0.0 if found is None else float(found[at])
    return -magnitude if has_sign and sign == 0 else magnitude


def outcomes(op: Op, size: int = SIZE) -> Iterator[Outcome]:
    """All outcomes of an op."""
    from torchvision.transforms import v2

    if isinstance(op, AutoAugment):
        yield from pair_outcomes(size)
        return
    kind = v2.RandAugment if isinstance(op, RandAugment) else v2.TrivialAugmentWide
    space = kind._AUGMENTATION_SPACE
    chosen: list[Outcome] = []
    for (index, name), sign in product(enumerate(space), (0, 1)):
        start, end = (index + 0.5) / len(space), 0.25 + 0.5 * sign
        if isinstance(op, RandAugment):
            step = name, signed(space, name, op.bins, op.magnitude, sign, size)
            labels = name, "-+"[sign]
            chosen.append(
                Outcome(uniforms=(start, end), steps=(step,), chance=1 / 28, labels=labels)
            )
            continue
        assert isinstance(op, TrivialAugment)
        for at in range(op.bins):
            step = name, signed(space, name, op.bins, at, sign, size)
            uniforms_3 = start, (at + 0.5) / op.bins, end
            chance, labels = 1 / 28 / op.bins, (name, f"{'-+'[sign]}{at // 4}")
            chosen.append(Outcome(uniforms=uniforms_3, steps=(step,), chance=chance, labels=labels))
    for parts in product(chosen, repeat=op.n if isinstance(op, RandAugment) else 1):
        yield Outcome(
            uniforms=tuple(u for part in parts for u in part.uniforms),
            steps=tuple(step for part in parts for step in part.steps),
            chance=float(np.prod([part.chance for part in parts])),
            labels=(
                " ".join(part.labels[0] for part in parts),
                " ".join(part.labels[1] for part in parts),
            ),
        )


def pair_outcomes(size: int) -> Iterator[Outcome]:
    """AutoAugment's outcomes: a pair, which of its ops are applied, and their signs."""
    from torchvision.transforms import v2

    reference = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    for index, pair in enumerate(reference._policies):
        for done in product((False, True), (0, 1), (False, True), (0, 1)):
            uniforms, steps, chance = [(index + 0.5) / 25], [], 1 / 25
            for (name, likely, at), applied, sign in zip(pair, done[::2], done[1::2], strict=True):
                uniforms += [0.0 if applied else 0.9999, 0.25 + 0.5 * sign]
                chance *= 0.5 * (likely if applied else 1 - likely)
                if applied:
                    space = reference._AUGMENTATION_SPACE
                    steps.append((name, signed(space, name, 10, at, sign, size)))
            if chance > 0:
                signs = "".join("-+"[sign] for sign in done[1::2])
                yield Outcome(
                    uniforms=tuple(uniforms),
                    steps=tuple(steps),
                    chance=chance,
                    labels=(f"{index} {done[0]} {done[2]}", signs),
                )


def by_torchvision(image: NDArray[np.uint8], steps: tuple[Step, ...]) -> NDArray[np.uint8]:
    """An image (H, W, C) after torchvision's operators for names and magnitudes."""
    from torchvision.transforms import v2

    carry = v2.RandAugment()
    x_CHW = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    for name, magnitude in steps:
        x_CHW = carry._apply_image_or_video_transform(
            x_CHW, name, magnitude, interpolation=carry.interpolation, fill=carry._fill
        )
    found: NDArray[np.uint8] = x_CHW.permute(1, 2, 0).contiguous().numpy()
    return found


@dataclass(frozen=True, kw_only=True)
class Counted:
    """All possible results of a policy on one image, with their classes.

    Outcomes with the same pixels are counted together.

    Args:
        images: Distinct images (K, H, W, C).
        places: Index in `images` by an image's bytes.
        columns: For each kind of label, the class of each image, (K,).
        chances: For each kind of label, the probability of each class.
    """

    images: NDArray[np.uint8]
    places: dict[bytes, int]
    columns: tuple[NDArray[np.int64], ...]
    chances: tuple[NDArray[np.float64], ...]

    def nearest(self, pixels: NDArray[np.float32]) -> tuple[int, float]:
        """Index of the nearest image, and the worst pixel's error."""
        whole = np.ascontiguousarray(pixels.round().clip(0, 255).astype(np.uint8))
        place = self.places.get(whole.tobytes())
        if place is not None:
            return place, float(np.abs(pixels - whole).max())
        off = np.abs(self.images - pixels).max(axis=(1, 2, 3))
        return int(off.argmin()), float(off.min())


@cache
def counted(op: Op, number: int = 0) -> Counted:
    """All results of `op` on `photo(SIZE, number)`."""
    steps_made: dict[tuple[bytes, Step], NDArray[np.uint8]] = {}
    found: dict[bytes, list[Outcome]] = defaultdict(list)
    images: dict[bytes, NDArray[np.uint8]] = {}
    for each in outcomes(op):
        image = photo(SIZE, number)
        for step in each.steps:  # one by one: many outcomes start with the same steps
            key = image.tobytes(), step
            if key not in steps_made:
                steps_made[key] = by_torchvision(image, (step,))
            image = steps_made[key]
        found[image.tobytes()].append(each)
        images[image.tobytes()] = image
    columns, chances = [], []
    for column in (0, 1):
        texts = [
            ", ".join(sorted({each.labels[column] for each in same})) for same in found.values()
        ]
        classes = {text: at for at, text in enumerate(sorted(set(texts)))}
        columns.append(np.array([classes[text] for text in texts]))
        total = np.zeros(len(classes))
        shares = [sum(each.chance for each in same) for same in found.values()]
        np.add.at(total, columns[-1], shares)
        chances.append(total)
    return Counted(
        images=np.stack(list(images.values())),
        places={key: at for at, key in enumerate(images)},
        columns=tuple(columns),
        chances=tuple(chances),
    )


@cache
def photo(size: int = SIZE, number: int = 0) -> NDArray[np.uint8]:
    """Waves with some noise, each channel over part of the range, so that all ops have effects."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(5 * x + 3 * y + 1), np.cos(3 * x - 7 * y), np.sin(6 * y - 4 * x + 2)]
    noise = np.random.default_rng(number).normal(0, 8, (size, size, 3))
    levels = np.array([120, 90, 140]) + np.array([80, 60, 70]) * np.stack(waves, axis=2) + noise
    found: NDArray[np.uint8] = levels.clip(3, 250).round().astype(np.uint8)
    return found


def dark(size: int = SIZE) -> NDArray[np.uint8]:
    """Few levels, and one channel with a single level."""
    image = photo(size) // 60
    image[..., 1] = 7
    return image


def noisy(size: int = SIZE) -> NDArray[np.uint8]:
    """All levels, no structure."""
    return np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)


IMAGES: dict[str, Callable[[int], NDArray[np.uint8]]] = {
    "photo": photo,
    "dark": dark,
    "noisy": noisy,
}
