"""Kornia's parts: where they draw, and what their compiled form needs."""

import pytest
import torch

from pipelines import kornia
from pipelines.libraries import missing
from pipelines.ops import (
    Affine,
    ColorJitter,
    Crop,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomResizedCrop,
    Rotation,
    Solarize,
    VerticalFlip,
)

pytestmark = pytest.mark.skipif(bool(missing("kornia")), reason="kornia is not installed")

OPS = (
    Crop(),
    HorizontalFlip(),
    VerticalFlip(),
    Cutout(size=4),
    ColorJitter(),
    Affine(),
    Rotation(),
    RandomResizedCrop(),
    Grayscale(),
    Solarize(),
    GaussianBlur(),
)


def test_kornia_draws_its_parameters_on_the_cpu() -> None:
    from kornia.augmentation.base import _BasicAugmentationBase

    setup = kornia.Setup(
        ops=OPS, image_size=(32, 32), mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu"),
        dtype=torch.float32, memory_format=torch.channels_last, compile=False,
    )  # fmt: skip
    steps = kornia.modules(setup)
    drawing = [part for part in steps.modules() if isinstance(part, _BasicAugmentationBase)]
    assert len(drawing) == len(OPS) + 1  # and the normalisation
    for part in drawing:  # as `to` does, to a type that it cannot have been before
        part.set_rng_device_and_dtype(torch.device("cpu"), torch.float64)
    assert kornia.draw_on_cpu(steps) is steps
    for part in drawing:
        assert (part.device, part.dtype) == (torch.device("cpu"), torch.float32)
        generator = part._param_generator
        assert generator is None or generator.dtype == torch.float32


@pytest.mark.parametrize(("gpu", "cpu"), [("no gcc", ""), ("", "no g++"), ("", "")])
def test_a_gpu_needs_both_compilers(monkeypatch: pytest.MonkeyPatch, gpu: str, cpu: str) -> None:
    monkeypatch.setattr(kornia, "compiler_problem", lambda *, gpu, by_gpu=(cpu, gpu): by_gpu[gpu])
    assert bool(kornia.problem("compiled", "cuda")) == bool(gpu or cpu)
    assert bool(kornia.problem("compiled", "cpu")) == bool(cpu)
    assert kornia.problem("eager", "cuda") == ""
