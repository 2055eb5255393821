"""The automatic policies: every outcome of native's ops equals torchvision's.

Each outcome is forced by chosen uniform numbers; the slow tier adds other images and sizes.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import building, native
from pipelines.ops import (
    AUTOMATIC,
    AutoAugment,
    ColorJitter,
    HorizontalFlip,
    Op,
    RandAugment,
    TrivialAugment,
)
from pipelines.verification.made_images import made, pixels
from pipelines.verification.outcomes import IMAGES, SIZE, by_torchvision, noisy, outcomes, photo
from tests.contract.variants import build, variants

NAMES = ("randaugment", "trivialaugment", "autoaugment")
OPS: dict[str, Op] = {
    "one": RandAugment(n=1),
    "weak": RandAugment(n=1, magnitude=0),
    "strong": RandAugment(n=1, magnitude=30),
    "odd": RandAugment(n=1, magnitude=3, bins=8),
    "two": RandAugment(n=2),
    "trivial": TrivialAugment(),
    "coarse": TrivialAugment(bins=5),
    "auto": AutoAugment(),
}
CLAIM = [name for name in variants() if set(AUTOMATIC) <= set(building.parse(name).library.ops)]
PLAIN = [name for name in CLAIM if building.parse(name).mode != "compiled"]


def by_native(op: Op, images_BHWC: NDArray[np.uint8], u_BK: Tensor) -> NDArray[np.float32]:
    edit = native.EDITS[type(op)]
    assert edit.table is not None
    table = edit.table(op, images_BHWC.shape[1:])
    x_BHWC = torch.from_numpy(images_BHWC).to(torch.float32)
    found: NDArray[np.float32] = edit.apply(op, x_BHWC, u_BK, table).numpy()
    return found


@pytest.mark.parametrize(
    ("image", "size"),
    [
        pytest.param(image, size, marks=() if (image, size) == ("photo", 32) else pytest.mark.slow)
        for image in IMAGES
        for size in (32, 20)
    ],
)
@pytest.mark.parametrize("name", OPS)
def test_every_outcome_has_torchvisions_pixels(name: str, image: str, size: int) -> None:
    op, source = OPS[name], IMAGES[image](size)
    found = list(outcomes(op, size))
    expected = np.stack([by_torchvision(source, each.steps) for each in found])
    u_BK = torch.tensor([each.uniforms for each in found])
    made_here = by_native(op, np.broadcast_to(source, expected.shape).copy(), u_BK)
    wrong = [
        (each.steps, float(np.abs(a - b).max()), int((a != b).sum()))
        for each, a, b in zip(found, made_here, expected.astype(float), strict=True)
        if not np.array_equal(a, b)
    ]
    assert not wrong, f"{len(wrong)} of {len(found)}: {wrong[:20]}"


@pytest.mark.parametrize("variant", PLAIN)
def test_automatic_policies_act_on_8_bit_values(variant: str) -> None:
    """Half of 101 is no whole number: posterizing and the like act on 50."""
    half = ColorJitter(brightness=(0.5, 0.5), contrast=(1, 1), saturation=(1, 1))
    image = np.full((SIZE, SIZE, 3), 101, dtype=np.uint8)
    ops = (half, RandAugment(n=1, magnitude=0), HorizontalFlip())
    with build(variant, made(image[None].repeat(64, axis=0)), ops) as pipeline:
        found = pixels(next(iter(pipeline.epoch(0)))[0])
    assert set(np.unique(found.round(2))) <= {50.0, 205.0}


@pytest.mark.parametrize("name", NAMES)
def test_compiled_without_breaks_and_equal_to_eager(name: str) -> None:
    problem = native.problem(native.COMPILED, "cpu")
    if problem:
        pytest.skip(problem)
    images = made(np.stack([photo()] * 64 + [noisy()] * 64))
    results = []
    for variant in ("native[eager]", "native"):
        # Compiled as one graph: torch.compile refuses what would break it.
        with building.build(variant, images, name, batch_size=64) as pipeline:
            results.append(torch.cat([x for x, _ in pipeline.epoch(0)]))
    off = (pixels(results[0]) - pixels(results[1])).__abs__()
    assert off.max() < 0.01


def test_grey_images_give_torchvisions_pixels() -> None:
    grey = photo()[..., :1]
    for op in (OPS["two"], OPS["trivial"], OPS["auto"]):
        found = list(outcomes(op))[::7]
        u_BK = torch.tensor([each.uniforms for each in found])
        made_here = by_native(op, np.broadcast_to(grey, (len(found), *grey.shape)).copy(), u_BK)
        expected = np.stack([by_torchvision(grey, each.steps) for each in found])
        assert np.array_equal(made_here, expected)
