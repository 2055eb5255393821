"""Strips of augmented images show the net's input, once per policy and pipeline."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.store.artifacts import STRIP_IMAGES, example_name, keep_example, kept_examples, strip_png
from bench.store.store import Store
from pipelines.base import normalise
from pipelines.sources.base import Images
from tests.made import made_cell


def source(side: int = 32, channels: int = 3, count: int = 20) -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images(
        images=torch.randint(
            256, (count, side, side, channels), dtype=torch.uint8, generator=generator
        ),
        labels=torch.zeros(count, dtype=torch.int64),
        classes=("a", "b"),
        mean=(0.4, 0.5, 0.6)[:channels],
        std=(0.2, 0.25, 0.3)[:channels],
        fingerprint="f00d",
    )


def batch(images: Images, dtype: torch.dtype = torch.float32) -> Tensor:
    return normalise(images.images, images, dtype)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_strip_shows_the_images_magnified() -> None:
    images = source()
    found = pixels(strip_png(batch(images), images))
    assert found.shape == (64, 64 * STRIP_IMAGES, 3)
    small = found[::2, ::2]
    assert (found == small.repeat(2, axis=0).repeat(2, axis=1)).all()
    expected = np.concatenate(list(images.images[:STRIP_IMAGES].numpy()), axis=1)
    assert (small == expected).all()


def test_half_precision_differs_only_by_rounding_and_grey_images_stay_grey() -> None:
    images = source()
    found = pixels(strip_png(batch(images, torch.bfloat16), images))[::2, ::2].astype(int)
    expected = np.concatenate(list(images.images[:STRIP_IMAGES].numpy()), axis=1).astype(int)
    assert abs(found - expected).max() <= 2
    images = source(channels=1)
    found = pixels(strip_png(batch(images), images))
    assert found.shape == (64, 64 * STRIP_IMAGES, 3)
    assert (found[..., 0] == found[..., 1]).all()


@pytest.mark.parametrize(("value", "shown"), [(100.0, 255), (-100.0, 0)])
def test_out_of_range_values_are_clamped(value: float, shown: int) -> None:
    found = pixels(strip_png(torch.full((2, 3, 32, 32), value), source()))
    assert (found == shown).all()


@pytest.mark.parametrize(("side", "shown"), [(8, 64), (64, 64), (96, 96), (224, 75)])
def test_strips_have_similar_sizes_for_all_image_sizes(side: int, shown: int) -> None:
    images = source(side=side, count=3)
    found = pixels(strip_png(batch(images), images))
    assert found.shape[0] == shown
    assert found.shape[1] == pytest.approx(3 * shown, abs=3)


def test_one_strip_per_policy_and_pipeline_is_kept(tmp_path: Path) -> None:
    store, images = Store(tmp_path), source()
    first = made_cell(pipeline="torchvision[workers=2]")
    keep_example(store, first, batch(images), images)
    kept = kept_examples(store)
    assert list(kept) == ["flip_crop__torchvision-workers-2"] == [example_name(first)]
    keep_example(store, first, batch(images).flip(0), images)
    assert kept_examples(store) == kept
    keep_example(store, made_cell(augmentation="none"), batch(images).flip(0), images)
    assert list(kept_examples(store)) == [*kept, "none__kornia"]
