"""Batches of every pipeline and policy on fake CUDA: format, waits, launches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.io
from torch import Tensor

import pipelines
from pipelines import augmentations, building
from pipelines.augmentations import Augmentation
from pipelines.base import Pipeline, Request, Unsupported
from pipelines.decoding import NvjpegDecoder, decoder
from pipelines.verification.made_images import made
from tests.fake_cuda.device import fake_cuda
from tests.pipelines.photographs import KINDS, images_of, write

VARIANTS = ("native[eager]", "kornia", "torchvision_batch")


def built(variant: str, policy: str, *, training: bool = True) -> Pipeline:
    images = pipelines.load("shapes").train
    try:
        return building.build(
            variant, images, policy, batch_size=64, device="cuda", dtype=torch.bfloat16,
            training=training,
        )  # fmt: skip
    except Unsupported as error:
        pytest.skip(str(error))


# Operations of a batch, before the compiler fuses those of native. A number that grows is a batch
# that became slower; one that falls is to be entered here.
LAUNCHES = {
    "native[eager]": {
        "affine": 200, "alternating_flip_crop": 51, "autoaugment": 409, "color": 127, "cutmix":
        98, "erasing": 93, "flip_crop": 49, "flip_crop_cutout": 63, "mixup": 69, "none": 33,
        "randaugment": 381, "resized_crop": 198, "speedrun94": 51, "speedrun96": 65,
        "trivialaugment": 220,
    },
    "kornia": {
        "affine": 114, "alternating_flip_crop": 54, "color": 172, "flip_crop": 55,
        "flip_crop_cutout": 71, "none": 10, "resized_crop": 141, "speedrun94": 54, "speedrun96":
        72,
    },
    "torchvision_batch": {
        "affine": 22, "alternating_flip_crop": 16, "autoaugment": 38, "color": 81, "cutmix": 24,
        "erasing": 13, "flip_crop": 14, "flip_crop_cutout": 15, "mixup": 26, "none": 9,
        "randaugment": 32, "resized_crop": 11, "speedrun94": 16, "speedrun96": 18,
        "trivialaugment": 23,
    },
}  # fmt: skip
# Copies of drawn parameters, without waiting. With parameters on the GPU Kornia's crops would read
# them back image by image, and its blur checks them on the host.
STAGED = {"kornia": 14}


@pytest.mark.parametrize("policy", augmentations.catalog.entries)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_waits_for_nothing(
    variant: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(monkeypatch) as device:
        batches = built(variant, policy).epoch(0)
        next(batches)
        device.clear()
        images_BCHW, labels = next(batches)
    assert images_BCHW.device.type == labels.device.type == "cuda"
    assert images_BCHW.dtype == torch.bfloat16
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert not device.mixed
    assert device.launches.total() <= LAUNCHES[variant][policy]
    if variant != "torchvision_batch":  # which waits inside torchvision
        assert not device.waits
        assert device.staged.total() <= STAGED.get(variant, 0)


@pytest.mark.parametrize("variant", ["native[eager]", "kornia"])
def test_decoded_batches_are_copied_without_waiting(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "image.jpg", "coffee", KINDS["JPEG, 47x33"])
    images = images_of([path] * 12, 32)
    with fake_cuda(monkeypatch) as device:
        pipeline = building.build(variant, images, "none", batch_size=4, device="cuda")
        assert pipeline.cursor() is None
        batches = pipeline.epoch(0)
        next(batches)
        device.clear()
        for images_BCHW, labels in batches:
            assert images_BCHW.device.type == labels.device.type == "cuda"
        assert not device.faults
        pipeline.close()


def test_images_of_nvjpeg_are_resized_on_the_device_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode_jpeg(encoded: list[Tensor], mode: object, device: torch.device) -> list[Tensor]:
        return [torch.empty(3, 40, 60, dtype=torch.uint8, device=device) for _ in encoded]

    monkeypatch.setattr(torchvision.io, "decode_jpeg", decode_jpeg)
    image_HWC = torch.zeros(32, 32, 3, dtype=torch.uint8)
    with fake_cuda(monkeypatch) as device:
        request = Request(
            images=replace(made(np.zeros((4, 32, 32, 3), np.uint8)), files=(Path("one.jpg"),) * 4),
            augmentation=Augmentation(ops=()),
            batch_size=4,
            device=torch.device("cuda"),
            options={"nvjpeg": 1},
        )
        reader = decoder(request)
        assert isinstance(reader, NvjpegDecoder)
        loaded = [torch.zeros(9, dtype=torch.uint8), image_HWC.pin_memory()]
        batch_BHWC = reader.assembled(loaded)
        reader.close()
        assert batch_BHWC.shape == (2, 32, 32, 3)
        assert (batch_BHWC.dtype, batch_BHWC.device.type) == (torch.uint8, "cuda")
        assert not device.faults


OWN = [
    name
    for name, policy in augmentations.catalog.entries.items()
    if "kornia[own]" in building.own_variants(policy)
]


@pytest.mark.parametrize("policy", OWN)
def test_kornias_own_ops_draw_on_the_cpu(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)  # whose kernels have no fake
    with fake_cuda(monkeypatch) as device:
        batches = built("kornia[own]", policy).epoch(0)
        next(batches)
        device.clear()
        found = [next(batches) for _ in range(8)]  # ops are drawn for each
    assert {each.device.type for batch in found for each in batch} == {"cuda"}
    assert not device.mixed
    assert policy == "cutmix" or not device.waits  # Kornia pastes by a mask of the batch


@pytest.mark.parametrize("training", [False, True])
def test_an_epoch_of_native_waits_for_nothing(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(monkeypatch) as device:
        pipeline = built("native[eager]", "speedrun94" if training else "none", training=training)
        for _ in pipeline.epoch(0):
            pass
        device.clear()
        for _ in pipeline.epoch(1):
            pass
    assert not device.faults
