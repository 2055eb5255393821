"""The generated source: the same bytes anywhere, balanced, mirror-proof, not linear."""

import hashlib
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from pipelines.sources import shapes

TRAIN_SHA256 = "1b72a45a99ff91fece490adb1f0b5dcbd8fb3eb0e533678a7a2f8f3620f44121"
TEST_SHA256 = "eec45fba1a239543aeee5579d43807a6120d89095607e42d4a23d39a75a44dfa"


@pytest.fixture(scope="module")
def generated() -> tuple[Any, ...]:
    return shapes.generate()


def sha256(images: shapes.Bytes, labels: shapes.Labels) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def test_the_bytes_are_the_same_on_every_machine(generated: tuple[Any, ...]) -> None:
    assert sha256(*generated[:2]) == TRAIN_SHA256
    assert sha256(*generated[2:]) == TEST_SHA256


def test_a_shape_is_its_own_mirror_image() -> None:
    axis = np.linspace(-1.2, 1.2, 64, dtype=np.float32)
    u, v = np.meshgrid(axis, -axis)
    for name, distance in shapes.SHAPES.items():
        mask = distance(u, v) < 0
        assert np.array_equal(mask, mask[:, ::-1]), name


@pytest.mark.slow
def test_a_linear_model_learns_little(generated: tuple[Any, ...]) -> None:
    images, labels, test_images, test_labels = generated
    pixels = images[:5_000].reshape(5_000, -1).astype(np.float32)
    model = RidgeClassifier(alpha=1e5).fit(pixels, labels[:5_000])
    test_pixels = test_images.reshape(10_000, -1).astype(np.float32)
    assert model.score(test_pixels, test_labels) < 0.4
