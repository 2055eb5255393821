"""`folder:PATH`: any image becomes the same small square, and nothing is left out in silence."""

import errno
import io
import os
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from pipelines import sources
from pipelines.sources import decode, folder
from pipelines.sources.base import Data
from pipelines.sources.decode import read_image
from pipelines.sources.describe import class_sizes, notices
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


BAD: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "text": lambda path: path.write_text("not an image"),
    "empty": Path.touch,
    "broken link": lambda path: path.symlink_to("nowhere"),
    "bomb": lambda path: Image.new("1", (12_000, 12_000)).save(path, "PNG"),
    "huge bomb": lambda path: Image.new("1", (16_000, 16_000)).save(path, "PNG"),
    "floats": lambda path: Image.fromarray(np.zeros((8, 8), np.float32)).save(path, "TIFF"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_or_left_out(tree: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        BAD[kind](tree / "train/dog/0 bad one.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(tree)
    assert message.startswith(f"train/dog/0 bad one.png in {tree} cannot be read: ")
    assert message.endswith("repair or remove it, or leave it out with --skip-bad")
    data = sources.load(f"folder:{tree}[skip-bad,decode]")
    assert data.name == f"folder:{tree}[decode,skip-bad=1]"
    assert reds(data) == [[10, 20, 30, 40], [50, 60]]
    assert [path.name for path in data.train.files] == ["1.png", "2.png", "1.png", "2.png"]
    assert [file.path for file in data.bad] == ["train/dog/0 bad one.png"]
    assert any("0 bad one.png" in notice for notice in notices(data))


def test_heic_needs_a_library_and_is_read_once_it_is_there(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_file(tree / "train/cat/3.png", (25, 0, 0))
    (tree / "train/cat/3.png").rename(tree / "train/cat/3.heic")
    (tree / "train/cat/3.heic").write_bytes(
        b"\0\0\0\x18ftypheic" + (tree / "train/cat/3.heic").read_bytes()
    )

    def opened(file: IO[bytes], name: str = "") -> PngImageFile:
        return PngImageFile(io.BytesIO(file.read()[12:]))

    def register() -> None:  # as pillow-heif does
        Image.register_open("HEIF", opened, lambda head: head[4:8] == b"ftyp")

    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    folder.reads_heic.cache_clear()
    assert "3.heic" in (said := refusal(tree))
    assert "it is HEIC, which needs pip install pillow-heif" in said
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    folder.reads_heic.cache_clear()
    assert reds(load(tree))[0] == [10, 20, 25, 30, 40]
    folder.reads_heic.cache_clear()


def test_all_bad_files_are_named_and_no_try_decodes_anew(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(13):
        (tree / f"train/cat/bad{number:02}.jpg").write_text("<html>")
    (tree / "test/dog/bad.png").write_text("")
    first = refusal(tree)
    assert first.startswith(f"14 files in {tree} cannot be read: train/cat/bad00.jpg (it is not an")
    assert "bad09.jpg" in first
    assert "bad10.jpg" not in first
    assert ", 4 more; repair or remove them, or leave them out with --skip-bad" in first
    monkeypatch.setattr(decode, "read_image", lambda *args: pytest.fail("decoded"))
    assert refusal(tree) == first
    assert len(sources.load(f"folder:{tree}[skip-bad]").bad) == 14


def test_without_bad_files_skip_bad_changes_nothing(tree: Path) -> None:
    data = sources.load(f"folder:{tree}[skip-bad]")
    assert data.name == f"folder:{tree}"
    assert data.fingerprint == load(tree).fingerprint


def test_bad_files_that_leave_a_class_or_a_set_empty_are_an_error(tree: Path) -> None:
    for number in (1, 2):
        (tree / f"train/cat/{number}.png").write_text("")
    with pytest.raises(SourceError, match="the class 'cat' has no training image: 2 files in"):
        sources.load(f"folder:{tree}[skip-bad]")
    for path in tree.glob("test/*/*.png"):
        path.write_text("")
    with pytest.raises(SourceError, match="4 files in"):
        sources.load(f"folder:{tree}[skip-bad]")


def test_a_file_that_cannot_be_opened_now_is_not_bad_for_good(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_image", refuse)
        with pytest.raises(SourceError, match="Too many open files"):
            sources.load(f"folder:{tree}[skip-bad]")
    assert not load(tree).bad


BESIDE = (
    "README.txt", "train/labels.csv", "train/lost.png", "train/cat/labels.csv", "train/cat/run.py",
    "train/cat/annotation.xml", "train/cat/clip.mp4", "test/classes.json", "train/cat/empty",
    "train/@eaDir/cat/1.png", "train/cat/@eaDir/1.png/thumb.jpg", "__MACOSX/train/cat/._1.png",
    "train/.ipynb_checkpoints/1-checkpoint.png", "train/cat/.ipynb_checkpoints/1.png",
    "train/.DS_Store", "train/cat/Thumbs.db", "train/cat/desktop.ini", "train/bird/.keep",
    "train/#recycle/cat/1.png", "docs/index.html", "extra/cat/1.png", "train\\cat\\1.png",
)  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_no_image_of_a_class_is_skipped_and_named(tree: Path, name: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Python" if name.endswith(".py") else "x" * ("." in name))
    data = load(tree)
    assert reds(data) == [[10, 20, 30, 40], [50, 60]]
    assert data.train.classes == ("cat", "dog")
    (skipped,) = data.skipped
    assert name.startswith(skipped)
    (notice,) = notices(data)
    assert notice.startswith(
        f"Skipped in folder:{tree}, as not images of a class: 1 entry ({skipped})"
    )


def test_a_pipe_is_skipped_and_never_opened(tree: Path) -> None:
    os.mkfifo(tree / "train/dog/pipe.png")
    assert load(tree).skipped == ("train/dog/pipe.png",)


def test_images_without_a_suffix_are_found(tree: Path) -> None:
    for path in tree.glob("*/*/*.png"):
        path.rename(path.with_suffix(""))
    (tree / "train/cat/notes").write_text("Python is not a PPM, though it begins as one")
    assert reds(load(tree)) == [[10, 20, 30, 40], [50, 60]]
    assert load(tree).skipped == ("train/cat/notes",)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_a_validation_folder_is_the_validation_set(tree: Path, name: str) -> None:
    plain = load(tree)
    image_file(tree / name / "cat/1.png", (70, 0, 0))
    image_file(tree / name / "dog/1.png", (80, 0, 0))
    data = load(tree)
    assert data.name == f"folder:{tree}"
    assert reds(data) == reds(plain)
    assert data.validation is not None
    assert data.validation.images[:, 0, 0, 0].tolist() == [70, 80]
    assert data.fingerprint.startswith(f"{plain.fingerprint}-")
    shutil.rmtree(tree / "test")
    alone = load(tree)
    assert alone.name == f"folder:{tree}[test=val]"
    assert alone.test.images[:, 0, 0, 0].tolist() == [70, 80]
    assert alone.fingerprint != data.fingerprint != plain.fingerprint
    assert "its validation set is used as the test set too" in next(iter(notices(alone)))


def many(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for number in range(count):
            image_file(root / name / f"{number:03}.png", (number, 0, 0), size=8)
    return root


@pytest.mark.parametrize("below", ["", "train/"])
def test_one_tree_of_classes_is_split_here(tree: Path, tmp_path: Path, below: str) -> None:
    root = many(tmp_path / "one", {f"{below}{name}": 20 for name in ("ant", "bee", "val")})
    for at in ("one", "moved"):
        data = load(tmp_path / at)
        assert data.name == f"folder:{tmp_path / at}[test=20%]"
        assert data.train.classes == ("ant", "bee", "val")
        assert [*class_sizes(data.train).values(), *class_sizes(data.test).values()] == [16] * 3 + [
            4
        ] * 3
        assert "20% of the images of each class are held back" in next(iter(notices(data)))
        if at == "one":
            first = data.fingerprint
            root.rename(tmp_path / "moved")
    assert data.fingerprint == first
    assert sources.load(data.name).name == data.name


def test_without_folders_of_sets_a_class_has_its_images_directly(
    tree: Path, tmp_path: Path
) -> None:
    """So that a home folder, or the folder above, is not taken for a tree of classes."""
    root = many(tmp_path / "one", {"ant": 5, "bee": 5, "more/cat": 5})
    data = load(root)
    assert data.train.classes == ("ant", "bee")
    assert data.skipped == ("more",)
    shutil.rmtree(root / "ant")
    (root / "bee").rename(root / "more/bee")
    assert "no class folders with images" in refusal(root)


def test_images_of_a_test_without_classes_are_skipped(tree: Path) -> None:
    shutil.rmtree(tree / "test")
    image_file(tree / "test" / "1.png")
    data = load(tree)
    assert data.name.endswith("[test=20%]")
    assert data.skipped == ("test",)


def test_a_class_with_one_image_is_trained(tree: Path, tmp_path: Path) -> None:
    data = load(many(tmp_path / "one", {"ant": 12, "bee": 1, "cat": 2}))
    assert class_sizes(data.train) == {"ant": 10, "bee": 1, "cat": 1}
    told = list(notices(data))
    assert any("2 classes (bee, cat) have one training image, which is" in text for text in told)
    assert any("the class 'bee' has no test image" in text for text in told)


def test_a_thousand_classes_are_read(tree: Path, tmp_path: Path) -> None:
    data = load(many(tmp_path / "many", {f"{number:04}": 2 for number in range(1000)}))
    assert (len(data.train), len(data.test), len(data.train.classes)) == (1000, 1000, 1000)
    assert ", 990 more) have one training image" in list(notices(data))[1]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (".", "there is no folder"),
        ("train", "has no folder train"),
        ("train/cat", "test has the class 'cat', of which there is no training image"),
    ],
)
def test_a_missing_part_of_a_tree_is_named(tree: Path, missing: str, reason: str) -> None:
    shutil.rmtree(tree / missing)
    assert reason in refusal(tree)
    assert str(tree) in refusal(tree)


def test_a_class_without_a_test_image_is_told(tree: Path) -> None:
    shutil.rmtree(tree / "test/dog")
    assert f"In folder:{tree}, the class 'dog' has no test image." in notices(load(tree))


def test_two_folders_for_one_set_are_refused(tree: Path) -> None:
    image_file(tree / "val/cat/1.png")
    image_file(tree / "valid/cat/1.png")
    assert "has both val and valid" in refusal(tree)


def test_no_class_and_one_class_are_refused(tree: Path) -> None:
    shutil.rmtree(tree / "train/dog")
    shutil.rmtree(tree / "test/dog")
    assert "only the class 'cat'" in refusal(tree)
    shutil.rmtree(tree / "train/cat")
    shutil.rmtree(tree / "test/cat")
    assert "no class folders" in refusal(tree)
    image_file(tree / "train/1.png")
    image_file(tree / "test/1.png")
    assert "no class folders" in refusal(tree)


def test_an_unreadable_folder_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder.Path, "iterdir", refuse)
    assert "Permission denied" in refusal(tree)


def test_names_in_any_script_are_classes_and_those_that_look_alike_are_one(tree: Path) -> None:
    (tree / "train/dog").rename(tree / "train" / unicodedata.normalize("NFC", "caf\u00e9"))
    (tree / "test/dog").rename(tree / "test" / unicodedata.normalize("NFD", "caf\u00e9"))
    names = ("a b \u732b", "\u0643\u0644\u0628", "two\nlines", "a\\b", "a\u2215b", "-rf", "[x]")
    for which in ("train", "test"):
        for name in names:
            image_file(tree / which / name / "1\n.png")
    assert load(tree).train.classes == tuple(sorted([*names, "caf\u00e9", "cat"]))


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
