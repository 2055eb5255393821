"""Pipelines that decode give over files what they give over the array of decoded images."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from pipelines import building
from pipelines.ops import ColorJitter, Crop, HorizontalFlip, Op
from pipelines.sources.base import Images
from pipelines.verification.made_images import numbered, numbers_of, pixels
from tests.contract.variants import build, supported, variants

COUNT, BATCH = 40, 12
decoding = pytest.mark.parametrize(
    "variant", [name for name in variants() if building.parse(name).library.decodes]
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The array of numbered images, each also a file without loss."""
    folder, images = tmp_path_factory.mktemp("files"), numbered(COUNT)
    files = tuple(folder / f"{number}.png" for number in range(COUNT))
    for path, image_HWC in zip(files, images.images, strict=True):
        Image.fromarray(image_HWC.numpy()).save(path)
    return replace(images, files=files)


def blank(images: Images) -> Images:
    """Without the array: what is delivered can only come from the files."""
    return replace(images, images=torch.zeros_like(images.images))


@decoding
def test_each_epoch_has_our_order_after_an_interrupted_one_too(
    variant: str, images: Images
) -> None:
    with build(variant, blank(images), (), batch_size=BATCH) as pipeline:
        for index in (0, 1):
            interrupted = pipeline.epoch(index + 5)
            next(interrupted)
            interrupted.close()
            batches = list(pipeline.epoch(index))
            order_SB = pipeline.permutation(index)
            assert [numbers_of(x).tolist() for x, _ in batches] == order_SB.tolist()
            assert torch.equal(torch.stack([y for _, y in batches]), images.labels[order_SB])


@decoding
def test_draws_are_those_over_the_array(variant: str, images: Images) -> None:
    ops: tuple[Op, ...] = (HorizontalFlip(), Crop(pad=4, padding="zero"), ColorJitter())
    supported(variant, ops)
    epochs = []
    for source in (blank(images), replace(images, files=())):
        with build(variant, source, ops, batch_size=BATCH) as pipeline:
            epochs.append(pixels(torch.cat([x for x, _ in pipeline.epoch(1)])))
    assert abs(epochs[0] - epochs[1]).max() < 1.0
