"""Ops from outside the suite bring their implementation for each library."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Unsupported
from pipelines.dali_ops.flow import DaliOp, Draws, Flow, Size
from pipelines.native_ops.edits import Edit
from pipelines.ops import Crop, HorizontalFlip, MixUp, Op, problem
from pipelines.torchvision import TorchvisionOp
from pipelines.verification.made_images import copies, noise_image, pixels
from tests.contract.variants import build, compiled, variants


class HalfOf(nn.Module):
    """Images in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5


def draw(op: Op, size: Size, count: int, generator: torch.Generator) -> Draws:
    return (torch.full((count,), 0.5),)


def add(op: Op, flow: Flow, factor: Any) -> None:
    flow.to_float()
    flow.images = flow.images * flow.operators.on_device(factor)


@dataclass(frozen=True, kw_only=True)
class Half(Op):
    """Half the brightness; in all libraries."""

    implementations: ClassVar = {
        "native": Edit(draws=0, apply=lambda op, x_BHWC, u_B0: x_BHWC * 0.5),
        "torchvision": TorchvisionOp(build=lambda v2, op, images: HalfOf(), dtype=torch.float32),
        "kornia": lambda kornia, op, setup: HalfOf(),
        "dali": DaliOp(draw=draw, add=add, raw=True),
        "albumentations": lambda library, op, setup: library.Lambda(
            image=lambda image, **_: image * 0.5, p=1.0
        ),
    }

    def problem(self, height: int, width: int) -> str:
        return "it needs 8 pixels" if min(height, width) < 8 else ""


@dataclass(frozen=True, kw_only=True)
class Nowhere(Op):
    """In no library."""


POLICIES: dict[str, tuple[Op, ...]] = {
    "alone": (Half(),),
    "between others": (HorizontalFlip(p=1.0), Half(), Crop(pad=2), Half()),
}


@pytest.mark.parametrize(
    "variant",
    [pytest.param(v, marks=pytest.mark.slow if compiled(v) else ()) for v in variants()],
)
@pytest.mark.parametrize("name", POLICIES)
def test_every_library_does_an_op_from_outside(variant: str, name: str) -> None:
    with build(variant, copies(64), POLICIES[name]) as pipeline:
        x_BCHW, _ = next(iter(pipeline.epoch(0)))
    found, half = pixels(x_BCHW), noise_image() / 2
    if name == "alone":
        assert np.abs(found - half).max() < 0.01
    else:
        assert found.max() < 64
        assert np.abs(found[:, 4:-4].mean(axis=(1, 2)) - half.mean(axis=(0, 1)) / 2).max() < 10


def test_a_mix_may_follow() -> None:
    with build("native[eager]", copies(64), (Half(), MixUp())) as pipeline:
        x_BCHW, labels = next(iter(pipeline.epoch(0)))
    assert np.abs(pixels(x_BCHW) - noise_image() / 2).max() < 0.01
    assert labels.shape == (64, 10)


@pytest.mark.parametrize("variant", variants())
def test_an_op_without_implementations_is_in_no_library(variant: str) -> None:
    library = building.parse(variant).library
    with pytest.raises(Unsupported, match=f"{library.name} has no Nowhere"):
        library.semantics(Augmentation(ops=[Nowhere()]))
    declared = library.semantics(Augmentation(ops=[Half()])).draws
    assert declared == {
        "Half": "per batch" if library.name == "torchvision_batch" else "per sample"
    }


def test_its_limits_are_found_before_training() -> None:
    assert problem((Half(),), (32, 32)) == ""
    assert "it needs 8 pixels" in problem((Half(),), (4, 32))
