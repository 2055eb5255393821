"""The generated source: the same bytes anywhere, balanced, mirror-proof, not linear."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from pipelines.sources import shapes

TRAIN_SHA256 = "1b72a45a99ff91fece490adb1f0b5dcbd8fb3eb0e533678a7a2f8f3620f44121"
TEST_SHA256 = "eec45fba1a239543aeee5579d43807a6120d89095607e42d4a23d39a75a44dfa"


@dataclass(frozen=True)
class Generated:
    images: shapes.Bytes
    labels: shapes.Labels
    test_images: shapes.Bytes
    test_labels: shapes.Labels


@pytest.fixture(scope="module")
def generated() -> Generated:
    return Generated(*shapes.generate())


@pytest.fixture(scope="module")
def masks() -> dict[str, np.ndarray]:
    """Bool (64, 64) of every shape upright on [-1.2, 1.2]."""
    axis = np.linspace(-1.2, 1.2, 64, dtype=np.float32)
    u, v = np.meshgrid(axis, -axis)
    return {name: distance(u, v) < 0 for name, distance in shapes.SHAPES.items()}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def sha256(images: shapes.Bytes, labels: shapes.Labels) -> str:
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def test_every_class_is_equally_frequent_and_the_order_is_shuffled(generated: Generated) -> None:
    assert np.bincount(generated.labels).tolist() == [5_000] * 10
    assert np.bincount(generated.test_labels).tolist() == [1_000] * 10
    for part in np.split(generated.labels, 10):
        assert np.bincount(part, minlength=10).min() > 400


def test_the_bytes_are_the_same_on_every_machine(generated: Generated) -> None:
    assert sha256(generated.images, generated.labels) == TRAIN_SHA256
    assert sha256(generated.test_images, generated.test_labels) == TEST_SHA256


def test_no_image_is_there_twice(generated: Generated) -> None:
    both = np.concatenate([generated.images, generated.test_images])
    assert len({image.tobytes() for image in both}) == 60_000


def test_equal_generators_draw_equal_images_and_others_do_not() -> None:
    labels = np.arange(20) % 10
    first = shapes.draw(labels, rng())
    assert np.array_equal(first, shapes.draw(labels, rng()))
    assert not np.array_equal(first, shapes.draw(labels, rng(1)))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_any_number_of_images_can_be_drawn(count: int) -> None:
    assert shapes.draw(np.full(count, 3), rng()).shape == (count, 32, 32, 3)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_without_a_class_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"labels are 0\.\.9, got .*{label}"):
        shapes.draw(np.array([0, label]), rng())


def test_a_shape_is_its_own_mirror_image(masks: dict[str, np.ndarray]) -> None:
    for name, mask in masks.items():
        assert np.array_equal(mask, mask[:, ::-1]), name


def test_no_shape_covers_another_however_it_is_turned(masks: dict[str, np.ndarray]) -> None:
    axis = np.linspace(-1.2, 1.2, 64, dtype=np.float32)
    u, v = np.meshgrid(axis, -axis)
    for name, distance in shapes.SHAPES.items():
        for turn in range(0, 360, 15):
            cosine, sine = shapes.DIRECTIONS[turn]
            turned = distance(u * cosine + v * sine, v * cosine - u * sine) < 0
            for other, mask in masks.items():
                overlap = (turned & mask).sum() / (turned | mask).sum()
                assert name == other or overlap < 0.9, (name, other, turn)


def test_shapes_fill_a_fair_part_of_their_frame(masks: dict[str, np.ndarray]) -> None:
    for name, mask in masks.items():
        assert 0.15 < mask.mean() * 1.2**2 < 0.65, name


@pytest.mark.slow
def test_a_linear_model_learns_little(generated: Generated) -> None:
    model = RidgeClassifier(alpha=1e5).fit(
        generated.images[:5_000].reshape(5_000, -1).astype(np.float32), generated.labels[:5_000]
    )
    pixels = generated.test_images.reshape(10_000, -1).astype(np.float32)
    assert model.score(pixels, generated.test_labels) < 0.4
