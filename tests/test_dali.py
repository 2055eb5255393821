"""DALI's two modes agree, and its short cuts change nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import derive_seed
from pipelines.dali import problem
from pipelines.dali_ops.engines import OnOneStream
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
from pipelines.verification.world import CLASSES, MEAN, SIZE, STD, made

pytestmark = pytest.mark.skipif(bool(problem("", "cpu")), reason="dali is not installed")

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
    """Images of noise, no two alike."""
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


@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_a_crop_after_a_flip_is_cut_from_the_mirrored_image(padding: str) -> None:
    """It is carried out before the flip, on an image that was padded once."""
    crop, images = Crop(pad=3, padding=padding), noise()  # type: ignore[arg-type]
    x, _ = epoch("dali", images, (HorizontalFlip(p=1.0), crop))
    mirrored = made(np.ascontiguousarray(images.images.numpy()[:, :, ::-1]))
    generator = torch.Generator().manual_seed(derive_seed(0, "draws", 1))
    sides = ((3, 3), (3, 3), (0, 0))
    with building.build("dali", images, Augmentation(ops=()), batch_size=BATCH) as pipeline:
        order = pipeline.permutation(1)
    mean, std = np.array(MEAN) * 255, np.array(STD) * 255
    for step, index_B in enumerate(order):
        torch.rand(BATCH, generator=generator)  # whether to flip
        start_B2 = torch.randint(0, 7, (BATCH, 2), generator=generator, dtype=torch.int32)
        for row, index in enumerate(index_B.tolist()):
            mode = "reflect" if padding == "reflect" else "constant"
            image = np.pad(mirrored.images[index].numpy(), sides, mode=mode)  # type: ignore[call-overload]
            down, right = start_B2[row].tolist()
            expected = (image[down : down + SIZE, right : right + SIZE] - mean) / std
            found = x[step * BATCH + row].permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("variant", ["dali", "dali[dynamic]"])
def test_images_of_one_channel(variant: str) -> None:
    ops = (Crop(pad=2), ColorJitter(hue=(0.1, 0.1)), Cutout(size=4), RandomResizedCrop())
    x, _ = epoch(variant, noise(channels=1), ops)
    assert x.shape == (COUNT, 1, SIZE, SIZE)
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("variant", ["dali", "dali[dynamic]"])
def test_a_cutout_larger_than_the_images_is_refused(variant: str) -> None:
    with pytest.raises(ValueError, match="Cutout of 17 pixels does not fit images of"):
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
def test_dali_needs_not_know_torchs_stream(asked: int | None) -> None:
    tensor = torch.arange(6, dtype=torch.uint8)
    given = OnOneStream(AsOnAGpu(tensor))  # type: ignore[arg-type]
    assert given.__dlpack_device__() == tensor.__dlpack_device__()
    assert torch.equal(from_dlpack(given.__dlpack__(stream=asked)), tensor)


def test_dynamic_mode_takes_what_has_dlpack_alone() -> None:
    from nvidia.dali.experimental import dynamic

    images_NHW = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    taken = dynamic.as_batch(OnOneStream(images_NHW), layout="HW")
    assert torch.equal(taken.torch(), images_NHW)
