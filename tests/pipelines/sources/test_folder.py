"""`folder:PATH`: any image becomes the same small square, and nothing is left out in silence."""

import io
import os
import shutil
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import sources
from pipelines.sources import decode, folder
from pipelines.sources.base import Data
from pipelines.sources.decode import read_image
from pipelines.sources.errors import SourceError


def image_file(path: Path, colour: tuple[int, int, int] = (200, 30, 90), size: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), colour, np.uint8)
    pixels[:, :, 2] = np.arange(size)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes with two training images and one test image each."""
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    root = tmp_path / "tree"
    for place, red in (("train/cat/1", 10), ("train/cat/2", 20), ("train/dog/1", 30),
                       ("train/dog/2", 40), ("test/cat/1", 50), ("test/dog/1", 60)):  # fmt: skip
        image_file(root / f"{place}.png", (red, 0, 0))
    return root


def load(root: Path) -> Data:
    return sources.load(f"folder:{root}")


def reds(data: Data) -> list[list[int]]:
    return [images.images[:, 0, 0, 0].tolist() for images in (data.train, data.test)]


def refusal(root: Path) -> str:
    with pytest.raises(SourceError) as failure:
        load(root)
    return str(failure.value)


def test_images_come_in_the_order_of_their_names(tree: Path) -> None:
    data = load(tree)
    assert data.train.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.test.labels.tolist() == [0, 1]
    assert reds(data) == [[10, 20, 30, 40], [50, 60]]
    assert data.train.image_size == (32, 32)
    assert data.name == f"folder:{tree}"


def test_a_tree_is_read_again_when_it_changes(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tree)
    assert sources.is_cached(f"folder:{tree}")
    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_image", lambda *args: pytest.fail("decoded"))
        assert load(tree).fingerprint == first.fingerprint
    image_file(tree / "train/cat/1.png", (11, 0, 0))
    assert not sources.is_cached(f"folder:{tree}")
    assert reds(load(tree))[0] == [11, 20, 30, 40]
    (tree / "train/cat/1.png").rename(tree / "train/cat/3.png")
    assert reds(load(tree))[0] == [20, 11, 30, 40]
    (tree / "train/cat/3.png").unlink()
    assert reds(load(tree))[0] == [20, 30, 40]
    assert load(tree).fingerprint != first.fingerprint


def test_the_same_images_elsewhere_have_the_same_fingerprint(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    assert load(tmp_path / "copy").fingerprint == load(tree).fingerprint


def test_files_of_the_operating_system_are_skipped(tree: Path) -> None:
    for name in (".DS_Store", "train/.DS_Store", "train/cat/.DS_Store", "train/cat/Thumbs.db",
                 "train/cat/._1.png", "train/Thumbs.db"):  # fmt: skip
        (tree / name).write_bytes(b"x")
    image_file(tree / "train/.hidden/1.png")
    (tree / "README.txt").write_text("about")
    assert reds(load(tree)) == [[10, 20, 30, 40], [50, 60]]


@pytest.mark.parametrize("target", [".", "..", "../../..", "loop"])
def test_links_that_loop_are_not_followed(tree: Path, target: str) -> None:
    (tree / "train/cat/loop").symlink_to(target, target_is_directory=True)
    if target == "loop":
        assert "train/cat/loop" in refusal(tree)
    else:
        assert reds(load(tree))[0] == [10, 20, 30, 40]


def test_folders_in_a_class_and_links_elsewhere_are_followed(tree: Path, tmp_path: Path) -> None:
    image_file(tmp_path / "store/deep/3.png", (25, 0, 0))
    (tree / "train/cat/stored").symlink_to(tmp_path / "store")
    (tree / "train/cat/0.png").symlink_to(tmp_path / "store/deep/3.png")
    assert reds(load(tree))[0] == [25, 10, 20, 25, 30, 40]


def truncated(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-900])


NO_IMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "text": lambda path: path.write_text("not an image"),
    "pipe": os.mkfifo,
    "broken link": lambda path: path.symlink_to("nowhere"),
    "bomb": lambda path: Image.new("1", (12_000, 12_000)).save(path, "PNG"),
    "huge bomb": lambda path: Image.new("1", (16_000, 16_000)).save(path, "PNG"),
    "floats": lambda path: Image.fromarray(np.zeros((8, 8), np.float32)).save(path, "TIFF"),
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_a_file_that_is_no_image_is_named(tree: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        NO_IMAGES[kind](tree / "train/dog/bad one.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(tree)
    assert message.startswith(f"train/dog/bad one.png in {tree} cannot be read: ")
    assert message.endswith("repair or remove it")
    assert not sources.is_cached(f"folder:{tree}")


@pytest.mark.parametrize("name", ["train/cat/labels.csv", "train/lost.png", "train/bird/.keep"])
def test_a_file_in_the_wrong_place_and_an_empty_class_are_named(tree: Path, name: str) -> None:
    if name.endswith(".keep"):
        (tree / "train/bird").mkdir()
        (tree / "test/bird").mkdir()
    (tree / name).touch()
    assert name.removesuffix("/.keep") in refusal(tree)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (".", "there is no folder"),
        ("train", "has no folder train"),
        ("test", "has no folder test"),
        ("test/dog", "train has the class 'dog' and test does not"),
        ("train/cat", "test has the class 'cat' and train does not"),
    ],
)
def test_a_missing_part_of_a_tree_is_named(tree: Path, missing: str, reason: str) -> None:
    shutil.rmtree(tree / missing)
    assert reason in refusal(tree)
    assert str(tree) in refusal(tree)


def test_no_class_and_one_class_are_refused(tree: Path) -> None:
    shutil.rmtree(tree / "train/dog")
    shutil.rmtree(tree / "test/dog")
    assert "only the class 'cat'" in refusal(tree)
    shutil.rmtree(tree / "train/cat")
    assert "no class folders" in refusal(tree)


def test_an_unreadable_folder_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder.Path, "iterdir", refuse)
    assert "Permission denied" in refusal(tree)


def test_names_in_any_script_are_classes_and_those_that_look_alike_are_one(tree: Path) -> None:
    (tree / "train/dog").rename(tree / "train" / unicodedata.normalize("NFC", "caf\u00e9"))
    (tree / "test/dog").rename(tree / "test" / unicodedata.normalize("NFD", "caf\u00e9"))
    for which in ("train", "test"):
        image_file(tree / which / "a b \u732b" / "1.png")
    assert load(tree).train.classes == ("a b \u732b", "caf\u00e9", "cat")


def test_a_name_that_is_no_text_can_be_shown(tree: Path) -> None:
    for name in (b"train", b"test"):
        os.rename(os.fsencode(tree) + b"/" + name + b"/dog",  # noqa: PTH104 - bytes
                  os.fsencode(tree) + b"/" + name + b"/dog\xff")  # fmt: skip
    classes = load(tree).train.classes
    assert classes == ("cat", "dog\\xff")
    assert "".join(classes).isprintable()


def saved(image: Image.Image, form: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream


def picture(mode: str = "RGB", size: tuple[int, int] = (32, 32)) -> Image.Image:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], (x + y) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def read(stream: io.BytesIO, tmp_path: Path, image_size: int = 32) -> NDArray[np.uint8]:
    (tmp_path / "image").write_bytes(stream.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_image(tmp_path / "image", image_size)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_images_of_the_right_size_keep_their_bytes(tmp_path: Path, mode: str) -> None:
    image = picture(mode)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read(saved(image, "PNG"), tmp_path), expected)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("BMP", "RGB"),
     ("TIFF", "CMYK"), ("WEBP", "RGBA"), ("PPM", "RGB")],
)  # fmt: skip
def test_any_format_is_read(tmp_path: Path, form: str, mode: str) -> None:
    pixels = read(saved(picture(mode, (48, 48)), form), tmp_path)
    expected = picture(mode, (48, 48)).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - np.asarray(expected)).mean() < 12


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = picture("P")
    stream = saved(image, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(read(stream, tmp_path), np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    pixels = read(saved(Image.fromarray(wide), "PNG"), tmp_path)
    np.testing.assert_array_equal(pixels[..., 1], wide >> 8)


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (33, 100), (1, 7), (500, 3)])
def test_the_square_in_the_middle_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (255, 0, 0))
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste((0, 255, 0), (left, top, left + side, top + side))
    pixels = read(saved(image, "PNG"), tmp_path)
    assert pixels[16, 16, 1] > 250
    assert pixels[16, 16, 0] < 5
    assert (pixels[..., 1] > 127).mean() > 0.8


def test_resizing_averages_fine_details(tmp_path: Path) -> None:
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = read(saved(Image.fromarray(board), "PNG"), tmp_path)
    assert abs(pixels.astype(int) - 127).max() <= 2


def test_images_are_turned_upright(tmp_path: Path) -> None:
    image = picture()
    turned = Image.Exif()
    turned[0x0112] = 6
    stream = saved(image, "PNG", exif=turned.tobytes())
    expected = np.rot90(np.asarray(image), -1)
    np.testing.assert_array_equal(read(stream, tmp_path), expected)
