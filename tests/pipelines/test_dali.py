"""DALI's two modes agree, and files that it can't decode are named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline, Unsupported
from pipelines.dali import DALI
from pipelines.dali_ops.engines import GraphEngine, OnOneStream
from pipelines.dali_ops.feeds import FileFeed
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    HorizontalFlip,
    MixUp,
    Op,
    RandomErasing,
    RandomResizedCrop,
)
from pipelines.sources.base import Images
from pipelines.verification.made_images import CLASSES, MEAN, SIZE, STD, made, pixels
from tests.pipelines.photographs import images_of

pytestmark = pytest.mark.skipif(bool(DALI.problem("", "cpu")), reason="dali is not installed")

COUNT, BATCH = 96, 32
POLICIES: dict[str, tuple[Op, ...]] = {
    "moves": (Crop(pad=3), HorizontalFlip(), Cutout(size=5), RandomErasing(), MixUp()),
    "edits": (
        AlternatingFlip(),
        Crop(pad=3, padding="zero"),
        Cutout(size=4),
        ColorJitter(hue=(-0.1, 0.1)),
        Affine(),
        RandomErasing(),
    ),
    "resized": (RandomResizedCrop(), HorizontalFlip(), Crop(pad=2), CutMix()),
}


def noise(channels: int = 3) -> Images:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (COUNT, SIZE, SIZE, channels), dtype=np.uint8)
    if channels == 3:
        return made(array)
    labels = torch.arange(COUNT) % len(CLASSES)
    return Images(
        images=torch.from_numpy(array), labels=labels, classes=CLASSES, mean=MEAN[:1], std=STD[:1]
    )


def epoch(variant: str, images: Images, ops: tuple[Op, ...]) -> tuple[Tensor, Tensor]:
    """Images and labels of an epoch that is not the first."""
    with building.build(variant, images, Augmentation(ops=ops), batch_size=BATCH) as pipeline:
        batches = list(pipeline.epoch(1))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("name", POLICIES)
def test_both_modes_give_equal_batches(name: str) -> None:
    x, labels = epoch("dali", noise(), POLICIES[name])
    other, other_labels = epoch("dali[dynamic]", noise(), POLICIES[name])
    assert torch.equal(x, other)
    assert torch.equal(labels, other_labels)


@pytest.mark.parametrize("variant", ["dali", "dali[dynamic]"])
def test_grey_images_go_through_every_op(variant: str) -> None:
    ops = (Crop(pad=2), ColorJitter(hue=(0.1, 0.1)), Cutout(size=4), RandomResizedCrop())
    x, _ = epoch(variant, noise(channels=1), ops)
    assert x.shape == (COUNT, 1, SIZE, SIZE)
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("variant", ["dali", "dali[dynamic]"])
def test_a_cutout_larger_than_the_images_is_refused(variant: str) -> None:
    with pytest.raises(Unsupported, match="does not fit images of"):
        epoch(variant, noise(), (Cutout(size=SIZE + 1),))


class AsOnAGpu:
    """A tensor that refuses the handle of torch's default stream, as those on a GPU do."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream == -1, f"unsupported stream on CUDA: {stream}."
        return self._tensor.__dlpack__(stream=stream)


@pytest.mark.parametrize("asked", [0, None, 1])
def test_tensors_ignore_the_requested_stream(asked: int | None) -> None:
    tensor = torch.arange(6, dtype=torch.uint8)
    given = OnOneStream(AsOnAGpu(tensor))
    assert given.__dlpack_device__() == tensor.__dlpack_device__()
    assert torch.equal(from_dlpack(given.__dlpack__(stream=asked)), tensor)


DECODED_SIZE = 32
VARIANTS = ("dali", "dali[dynamic]")
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


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("files")
    return images_of([write(folder / name, p) for p, name in enumerate(SHAPES)], DECODED_SIZE)


@pytest.fixture
def lost(tmp_path: Path) -> Images:
    """Images of which one's file is a test's to break."""
    return images_of([write(tmp_path / name, 0.0) for name in SHAPES], DECODED_SIZE)


def build(variant: str, images: Images, ops: tuple[Op, ...], batch_size: int = 5) -> Pipeline:
    return building.build(variant, images, Augmentation(ops=ops), batch_size=batch_size)


def decoded(pipeline: Pipeline, index: int = 0) -> tuple[NDArray[np.float32], torch.Tensor]:
    """Pixels in 0..255 and labels."""
    batches = list(pipeline.epoch(index))
    return np.concatenate([pixels(x) for x, _ in batches]), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("form", ["GIF", "ICO", "TGA", "PCX", "SGI"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_format_that_dali_lacks_is_found_before_training(
    variant: str, form: str, lost: Images
) -> None:
    path = next(path for path in lost.files if path.name == "grey.jpg")
    Image.open(path).convert("RGB").save(path, format=form)  # its name still says JPEG
    with pytest.raises(Unsupported, match=rf"dali cannot decode {form} files such as .*grey\.jpg"):
        build(variant, lost, ())


@pytest.mark.parametrize("form", ["BMP", "PNG", "PPM", "TIFF", "WEBP", "JPEG2000"])
def test_formats_that_dali_has_are_decoded(form: str, lost: Images) -> None:
    for path in lost.files:
        Image.open(path).convert("RGB").save(path, format=form)
    with build("dali", lost, ()) as pipeline:
        assert len(decoded(pipeline)[0]) == len(lost.files)


def test_a_sound_file_with_more_bytes_at_its_end_is_read(lost: Images) -> None:
    path = lost.files[0]
    path.write_bytes(path.read_bytes() + b"made by a camera")
    with build("dali", lost, ()) as pipeline:
        assert len(decoded(pipeline)[0]) == len(lost.files)


@pytest.mark.parametrize("failing", ["submit", "take"])
def test_a_failed_pipeline_is_closed_and_gets_no_other_batch(
    failing: str, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def fail(engine: GraphEngine, *given: object) -> None:
        calls.append(failing)
        raise RuntimeError("Critical error in pipeline:")

    def close(engine: GraphEngine) -> None:
        calls.append("close")

    with build("dali", images, ()) as pipeline:
        monkeypatch.setattr(GraphEngine, failing, fail)
        monkeypatch.setattr(GraphEngine, "close", close)
        with pytest.raises(RuntimeError, match="Critical error"):
            decoded(pipeline)
        with pytest.raises(RuntimeError, match="was closed"):
            decoded(pipeline)
    assert calls == [failing, "close"]


def test_files_that_dali_failed_on_are_named(lost: Images) -> None:
    feed = FileFeed(build("dali", lost, ()).request)
    index_N = torch.arange(len(lost.files))
    error = RuntimeError("DALI's")
    assert feed.explain(index_N, error) is error
    assert f"decoding {lost.files[0]}, {lost.files[1]}, " in error.__notes__[0]
    Image.open(lost.files[3]).save(lost.files[3], format="GIF")
    expected = f"dali cannot decode {lost.files[3]}, although Pillow can"
    assert str(feed.explain(index_N, error)).startswith(expected)
