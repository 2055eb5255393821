"""How a folder source is spelled, and what the spelling leads to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pipelines
from pipelines.sources import tree_name
from pipelines.sources.decode import read_image
from pipelines.sources.errors import SourceError
from pipelines.sources.tree_name import TreeName, parse, with_options


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder:a", TreeName(path="a")),
        ("folder:a/b[size=224]", TreeName(path="a/b", image_size=224)),
        ("folder:a[decode]", TreeName(path="a", decode=True)),
        ("folder:a[decode,size=64]", TreeName(path="a", image_size=64, decode=True)),
        ("folder:a[old]", TreeName(path="a[old]")),
        ("folder:a[size=]", TreeName(path="a[size=]")),
        ("folder:a[1][decode]", TreeName(path="a[1]", decode=True)),
        ("folder:a[size=224]/b", TreeName(path="a[size=224]/b")),
    ],
)
def test_a_folder_name_is_parsed_and_written_again(name: str, expected: TreeName) -> None:
    assert parse(name) == expected
    assert parse(expected.name) == expected


@given(st.text(min_size=1), st.sampled_from([*tree_name.SIZES]), st.booleans())
def test_a_written_folder_name_is_canonical(path: str, size: int, decode: bool) -> None:
    first = parse(f"folder:{path}")
    name = TreeName(path=first.path, image_size=size, decode=decode).name
    assert with_options(name, image_size=size, decode=decode) == parse(name).name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder:", "names no folder; write folder:PATH"),
        ("folder:[decode]", "names no folder; write folder:PATH"),
        ("folder:a[size=7]", "images of 7 pixels.*the size lies in 8 to 1024"),
        ("folder:a[size=1025]", "the size lies in 8 to 1024"),
    ],
)
def test_malformed_folder_names_are_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse(name)


def test_options_beside_the_name_become_part_of_it() -> None:
    assert with_options("folder:a", image_size=224, decode=True) == "folder:a[size=224,decode]"
    assert with_options("folder:a[size=64]", image_size=None, decode=True).endswith("64,decode]")
    assert with_options("folder:a[size=64]", image_size=32, decode=False) == "folder:a"
    assert with_options("cifar10", image_size=None, decode=False) == "cifar10"


@pytest.mark.parametrize(("size", "decode", "asked"), [(64, False, "size"), (None, True, "decode")])
def test_sources_without_files_are_not_decoded(size: int | None, decode: bool, asked: str) -> None:
    with pytest.raises(SourceError, match=f"--.*{asked} needs image files: --source folder:PATH"):
        with_options("auto", image_size=size, decode=decode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """JPEG files of several sizes, two classes with 16 training images and 4 test images each."""
    rng = np.random.default_rng(0)
    for number in range(40):
        which = "train" if number < 32 else "test"
        path = tmp_path / "tree" / which / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        size = 40 + 7 * (number % 5), 60 - 9 * (number % 3)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
    return tmp_path / "tree"


def test_size_and_decode_decide_image_size_and_files(tree: Path, tmp_path: Path) -> None:
    plain = pipelines.load(f"folder:{tree}", tmp_path)
    large = pipelines.load(f"folder:{tree}[size=48,decode]", tmp_path)
    assert plain.train.image_size == (32, 32)
    assert plain.train.files == ()
    assert large.train.image_size == (48, 48)
    assert len(large.train.files) == len(large.train) == 32
    for images in (large.train, large.test.subset(torch.tensor([5, 2]))):
        for path, image, label in zip(images.files, images.images, images.labels, strict=True):
            assert np.array_equal(read_image(path, 48), image)
            assert path.parent.name == images.classes[label]


@pytest.mark.parametrize("workers", [0, 2])
def test_torchvision_decodes_the_files_themselves(tree: Path, tmp_path: Path, workers: int) -> None:
    images = pipelines.load(f"folder:{tree}[decode]", tmp_path).train
    spelling = f"torchvision[workers={workers}]"
    with pipelines.build(spelling, images, "none", batch_size=16) as pipeline:
        before = torch.cat([x for x, _ in pipeline.epoch(0)])
        for path in images.files:
            Image.new("RGB", (40, 40), (255, 0, 0)).save(path)
        after = torch.cat([x for x, _ in pipeline.epoch(0)])
        images.files[3].unlink()
        with pytest.raises(SourceError, match=rf"{images.files[3].name} in .* cannot be read"):
            list(pipeline.epoch(1))
    array = replace(images, files=())
    with pipelines.build("native[eager]", array, "none", batch_size=16) as pipeline:
        assert torch.allclose(torch.cat([x for x, _ in pipeline.epoch(0)]), before, atol=1e-5)
    assert after.flatten(2).std(dim=2).max() < 0.05
