"""`npz:PATH`: arrays of a notebook are a source, and what is wrong with them is one sentence."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import sources
from pipelines.sources.base import Data
from pipelines.sources.describe import class_sizes
from pipelines.sources.errors import SourceError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 28, 28), np.uint8)
IMAGES = RNG.integers(0, 256, (60, 12, 12, 3), np.uint8)
LABELS = np.arange(60) % 3


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))


def load(tmp_path: Path, **arrays: Any) -> Data:
    np.savez(tmp_path / "mine.npz", **arrays)
    return sources.load(f"npz:{tmp_path / 'mine.npz'}")


def test_arrays_alone_are_split_here(tmp_path: Path) -> None:
    data = load(tmp_path, images=IMAGES, labels=LABELS)
    assert data.name == f"npz:{tmp_path / 'mine.npz'}[test=20%]"
    assert data.train.classes == ("0", "1", "2")
    assert [*class_sizes(data.train).values(), *class_sizes(data.test).values()] == [16] * 3 + [
        4
    ] * 3
    together = np.concatenate([data.train.images, data.test.images])
    assert sorted(map(bytes, together)) == sorted(map(bytes, IMAGES))
    assert sources.is_cached(data.name)
    assert sources.load(data.name).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels", "test_images", "test_labels"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_a_test_set_is_used_and_grey_is_repeated(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (GREY, LABELS[:, None].astype(np.uint8), GREY[:9], LABELS[:9])
    data = load(tmp_path, **dict(zip(names, arrays, strict=True)), more=np.zeros(3))
    assert data.name == f"npz:{tmp_path / 'mine.npz'}"
    assert np.array_equal(data.train.images, np.stack([GREY] * 3, axis=3))
    assert np.array_equal(data.test.images[..., 0], GREY[:9])
    assert data.train.labels.tolist() == LABELS.tolist()


def test_a_validation_set_and_names_of_classes_are_used(tmp_path: Path) -> None:
    own = {"val_images": IMAGES[:6], "val_labels": LABELS[:6]}
    data = load(tmp_path, images=IMAGES, labels=LABELS, classes=["b", "\u732b/", "a\nb"], **own)
    assert data.name.endswith("[test=val]")
    assert data.train.classes == ("b", "\u732b/", "a\nb")
    assert data.validation is not None
    assert len(data.validation) == len(data.test) == 6


def test_labels_may_be_any_numbers(tmp_path: Path) -> None:
    data = load(tmp_path, images=IMAGES, labels=LABELS * 5 + 7)
    assert data.train.classes == ("7", "12", "17")
    assert set(data.train.labels.tolist()) == {0, 1, 2}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"a": IMAGES, "b": LABELS}, "it has no arrays images and labels, only a, b"),
    "nothing": ({}, "it has no arrays images and labels"),
    "no labels": ({"images": IMAGES}, "it has images without labels"),
    "half a test set": (
        {"images": IMAGES, "labels": LABELS, "test_labels": LABELS},
        "it has test_labels without test_images",
    ),
    "floats": (
        {"images": IMAGES / 255, "labels": LABELS},
        "images are float64, not uint8; scale them to 0 to 255",
    ),
    "channels first": (
        {"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS},
        r"images have the shape \(60, 3, 12, 12\).*move the channels last",
    ),
    "five channels": (
        {"images": np.zeros((60, 12, 12, 5), np.uint8), "labels": LABELS},
        r"\(60, 12, 12, 5\), not \(N, H, W, 3\)",
    ),
    "flat": ({"images": IMAGES.reshape(60, -1), "labels": LABELS}, "have the shape"),
    "no square": ({"images": IMAGES[:, 2:], "labels": LABELS}, "12x10 pixels, not squares of 8"),
    "tiny": ({"images": IMAGES[:, :4, :4], "labels": LABELS}, "4x4 pixels"),
    "none": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images are none"),
    "fewer labels": ({"images": IMAGES, "labels": LABELS[:9]}, "60 images and 9 labels"),
    "float labels": ({"images": IMAGES, "labels": LABELS / 1}, "labels are float64"),
    "one-hot": ({"images": IMAGES, "labels": np.eye(3, dtype=int)[LABELS]}, "not integers"),
    "negative": ({"images": IMAGES, "labels": LABELS - 1}, "labels has -1"),
    "objects": (
        {"images": IMAGES, "labels": LABELS, "classes": np.array(["a", None, 1], object)},
        "an array of Python objects",
    ),
    "few names": ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b"]}, "label 2 and 2 cla"),
    "equal names": (
        {"images": IMAGES, "labels": LABELS, "classes": ["a", "b", "a"]}, "not different names",
    ),
    "one class": ({"images": IMAGES, "labels": LABELS * 0}, "1 classes, not 2 to"),
    "one image of each": ({"images": IMAGES[:3], "labels": LABELS[:3]}, "none is left for a test"),
    "other size": (
        {"images": IMAGES, "labels": LABELS, "test_images": GREY, "test_labels": LABELS},
        "its test images have another size",
    ),
    "unknown label": (
        {"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS + 1},
        "its test set has the label 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_malformed_arrays_are_refused_with_the_reason(tmp_path: Path, fault: str) -> None:
    arrays, reason = FAULTS[fault]
    with pytest.raises(SourceError, match=reason) as failure:
        load(tmp_path, **arrays)
    assert str(failure.value).startswith(f"{tmp_path / 'mine.npz'} cannot be used: ")
    assert "\n" not in str(failure.value)


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "one array", "truncated", "garbage"])
def test_other_files_are_refused_and_nothing_is_unpickled(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "mine.npz", tmp_path / "unpickled"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", IMAGES)
    contents = {
        "text": b"images,labels\n",
        "empty": b"",
        "pickle": pickle.dumps(Canary(mark)),
        "one array": (tmp_path / "one.npy").read_bytes(),
        "truncated": whole[:-300],
        "garbage": whole[:500] + bytes(300) + whole[800:],
    }
    path.write_bytes(contents[kind])
    with pytest.raises(SourceError, match=r"mine\.npz cannot be used: .*npz:PATH needs"):
        sources.load(f"npz:{path}")
    assert not mark.exists()


def test_a_missing_file_and_options_for_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"No such file.*give npz:PATH with a file that exists"):
        sources.load(f"npz:{tmp_path / 'none.npz'}")
    with pytest.raises(SourceError, match="used as they are"):
        sources.load("npz:mine.npz[size=64]")
    with pytest.raises(SourceError, match="names no file; write npz:PATH"):
        sources.load("npz:")
