"""DALI decodes files anew to what `read_image` makes of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline
from pipelines.dali import DALI, problem
from pipelines.ops import ColorJitter, Crop, HorizontalFlip, MixUp, Op
from pipelines.sources.base import Images, SourceError
from pipelines.sources.decode import read_image
from pipelines.verification.world import CLASSES, MEAN, STD, pixels

pytestmark = pytest.mark.skipif(bool(problem("", "cpu")), reason="dali is not installed")

SIZE = 32
VARIANTS = ("dali", "dali[dynamic]")
MEAN_ERROR, WORST_ERROR = 0.5, 3.0  # levels of 255: Pillow rounds between its two passes
SHAPES = {  # (height, width) of each file before it is turned
    "tall.jpg": (101, 67),
    "wide.jpg": (33, 50),
    "large.jpg": (260, 333),
    "turned.jpg": (80, 61),
    "mirrored.jpg": (47, 64),
    "grey.jpg": (45, 70),
    "colour.png": (64, 47),
    "clear.png": (40, 41),
    "tiny.png": (12, 11),
    "square.jpg": (32, 32),
}
EXIF = {"turned.jpg": 6, "mirrored.jpg": 2}


def waves(height: int, width: int, phase: float) -> NDArray[np.uint8]:
    """A smooth image, since JPEG decoders differ at sharp edges."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [np.sin(9 * x + 6 * y + phase), np.cos(6 * x - 12 * y), np.sin(12 * y - 3 * x + phase)]
    image: NDArray[np.uint8] = (128 + 80 * np.stack(planes, axis=2)).round().astype(np.uint8)
    return image


def write(path: Path, phase: float) -> Path:
    """One of `SHAPES`, greyscale, transparent or with an orientation as its name says."""
    array = waves(*SHAPES[path.name], phase)
    if path.name == "grey.jpg":
        array = array[..., 0]
    if path.name == "clear.png":
        array = np.concatenate([array, np.full((*array.shape[:2], 1), 99, np.uint8)], axis=2)
    exif = Image.Exif()
    exif[0x112] = EXIF.get(path.name, 1)
    Image.fromarray(array).save(path, quality=95, exif=exif)
    return path


def named(files: list[Path]) -> Images:
    """The images of files, as a source gives them."""
    return Images(
        images=torch.from_numpy(np.stack([read_image(path, SIZE) for path in files])),
        labels=torch.arange(len(files)) % len(CLASSES),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        files=tuple(files),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("files")
    return named([write(folder / name, phase) for phase, name in enumerate(SHAPES)])


@pytest.fixture
def lost(tmp_path: Path) -> Images:
    """Images of which one's file is a test's to break."""
    return named([write(tmp_path / name, 0.0) for name in SHAPES])


def build(variant: str, images: Images, ops: tuple[Op, ...], batch_size: int = 5) -> Pipeline:
    return building.build(variant, images, Augmentation(ops=ops), batch_size=batch_size)


def epoch(pipeline: Pipeline, index: int = 0) -> tuple[NDArray[np.float32], torch.Tensor]:
    """Pixels in 0..255 and labels."""
    batches = list(pipeline.epoch(index))
    return np.concatenate([pixels(x) for x, _ in batches]), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_become_what_the_source_made_of_them(variant: str, images: Images) -> None:
    assert DALI.decodes
    # The array is left blank: what is delivered can only come from the files.
    blank = replace(images, images=torch.zeros_like(images.images))
    with build(variant, blank, ()) as pipeline:
        for index in (0, 1):
            order = pipeline.permutation(index).flatten()
            found, labels = epoch(pipeline, index)
            error = np.abs(found - images.images[order].numpy())
            assert error.mean(axis=(1, 2, 3)).max() < MEAN_ERROR
            assert error.max() < WORST_ERROR
            assert np.abs(found - found.round()).max() < 0.01  # bytes, as in the array
            assert torch.equal(labels, images.labels[order])


@pytest.mark.parametrize("variant", VARIANTS)
def test_ops_draw_and_act_as_on_the_array(variant: str, images: Images) -> None:
    ops = (
        HorizontalFlip(),
        Crop(pad=4, padding="zero"),
        ColorJitter(brightness=(1.0, 1.0), contrast=(1.0, 1.0)),
        MixUp(),
    )
    with build(variant, images, ops) as pipeline:
        found, labels = epoch(pipeline)
    with build(variant, replace(images, files=()), ops) as pipeline:
        expected, expected_labels = epoch(pipeline)
    assert np.abs(found - expected).mean() < 2 * MEAN_ERROR
    assert np.abs(found - expected).max() < 3 * WORST_ERROR  # saturation makes differences greater
    assert torch.equal(labels, expected_labels)


def spoil(path: Path, how: str) -> None:
    """Takes the file away, cuts it short, or puts something else there."""
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] if how == "short" else b"no image at all")


@pytest.mark.parametrize("how", ["gone", "short", "text"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_that_broke_is_named(variant: str, how: str, lost: Images) -> None:
    with build(variant, lost, (HorizontalFlip(),)) as pipeline:
        epoch(pipeline)
        spoil(next(path for path in lost.files if path.name == "grey.jpg"), how)
        with pytest.raises(SourceError, match=r"grey\.jpg cannot be decoded: .+; repair it"):
            epoch(pipeline, 1)
    with (
        pytest.raises(SourceError, match=r"grey\.jpg cannot be decoded"),
        build(variant, lost, ()) as again,
    ):
        epoch(again)
