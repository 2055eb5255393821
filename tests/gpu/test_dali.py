"""DALI on a CUDA device: the same batches as on the CPU, from arrays and from files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import normalise
from pipelines.dali import DALI
from pipelines.ops import Op
from pipelines.sources.base import Images
from tests.gpu.device import DEVICE, on_the_device
from tests.pipelines.photographs import images_of
from tests.pipelines.test_dali import DECODED_SIZE, POLICIES, SHAPES, noise, write

pytestmark = [
    *on_the_device,
    pytest.mark.skipif(bool(DALI.problem("", DEVICE)), reason="dali is not installed"),
]

VARIANTS = ("dali", "dali[dynamic]")


def epoch(
    variant: str, images: Images, ops: tuple[Op, ...], device: str, batch_size: int = 32
) -> tuple[Tensor, Tensor]:
    policy = Augmentation(ops=ops)
    with building.build(variant, images, policy, batch_size=batch_size, device=device) as pipeline:
        batches = list(pipeline.epoch(1))
    assert {x.device.type for batch in batches for x in batch} == {device}
    return torch.cat([x for x, _ in batches]).cpu(), torch.cat([y for _, y in batches]).cpu()


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_ops_do_on_the_device_what_they_do_on_the_cpu(variant: str, name: str) -> None:
    x, labels = epoch(variant, noise(), POLICIES[name], DEVICE)
    expected, expected_labels = epoch(variant, noise(), POLICIES[name], "cpu")
    torch.testing.assert_close(x, expected, atol=0.01, rtol=0.001)
    torch.testing.assert_close(labels, expected_labels)


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_are_right_while_the_device_is_busy(variant: str) -> None:
    images, policy = noise(), Augmentation(ops=())
    with building.build(variant, images, policy, batch_size=2, device=DEVICE) as pipeline:
        expected_NCHW = normalise(images.images, images, torch.float32)
        batches = pipeline.epoch(0)
        for number, index_B in enumerate(pipeline.permutation(0)):
            if DEVICE == "cuda" and number >= 8:
                torch.cuda._sleep(100_000_000)  # about 50 ms
            x_BCHW, labels_B = next(batches)
            assert torch.equal(labels_B.cpu(), images.labels[index_B])
            torch.testing.assert_close(x_BCHW.cpu(), expected_NCHW[index_B], atol=0.01, rtol=0.001)


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_are_decoded_on_the_device(variant: str, tmp_path: Path) -> None:
    files = [write(tmp_path / name, phase) for phase, name in enumerate(SHAPES)]
    images = images_of(files, DECODED_SIZE)
    x, labels = epoch(variant, images, (), DEVICE, batch_size=5)
    expected, expected_labels = epoch(variant, images, (), "cpu", batch_size=5)
    assert (x - expected).abs().mean() < 1 / 60  # a level, in standard deviations
    assert torch.equal(labels, expected_labels)
