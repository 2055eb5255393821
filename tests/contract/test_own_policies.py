"""`kornia[own]` and the like: what must hold although an op means something else by the name."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import OWN, Unsupported
from pipelines.dali_ops import own as dali_own
from pipelines.ops import (
    MIXING,
    AutoAugment,
    Crop,
    CutMix,
    HorizontalFlip,
    MixUp,
    Op,
    RandAugment,
    RandomErasing,
    TrivialAugment,
)
from pipelines.sources.base import Images
from pipelines.verification.made_images import SIZE, copies, made, noise_image, pixels
from tests.contract.variants import build

OPS: dict[type[Op], Op] = {
    type(op): op
    for op in (
        RandomErasing(),
        RandAugment(),
        TrivialAugment(),
        AutoAugment(),
        MixUp(alpha=0.8),
        CutMix(alpha=0.8),
    )
}
LIBRARIES = [
    library
    for library in building.catalog.entries.values()
    if library.own and not library.problem(OWN, "cpu")
]
CASES = [(library.name, kind) for library in LIBRARIES for kind in library.own]
every_case = pytest.mark.parametrize(
    ("variant", "op"),
    [
        pytest.param(f"{name}[{OWN}]", OPS[kind], id=f"{name}-{kind.__name__}")
        for name, kind in CASES
    ],
)


def epoch(variant: str, images: Images, ops: tuple[Op, ...], index: int) -> tuple[Tensor, Tensor]:
    """One epoch, the first of a new pipeline: images (batches, B, C, H, W), and labels."""
    with build(variant, images, ops, batch_size=32) as pipeline:
        x, labels = zip(*pipeline.epoch(index), strict=True)
    return torch.stack(x), torch.stack(labels)


def told_apart() -> Images:
    """Every other image is flat, the others are noise; the classes are grey levels on average."""
    index = np.arange(640)
    level = 20 * (index % 10) + 30
    spread = np.where(index[:, None, None, None] % 2, noise_image() // 4 - 31.5, 0)
    spread -= spread.mean(axis=(1, 2, 3), keepdims=True)
    return made((level[:, None, None, None] + spread).round().astype(np.uint8), index % 10)


@every_case
def test_order_labels_range_and_seeds_are_the_suites(variant: str, op: Op) -> None:
    images = told_apart()
    ops = (HorizontalFlip(), Crop(pad=1), op)
    x, labels = epoch(variant, images, ops, 3)
    with build(variant, images, ops, batch_size=32) as pipeline:
        order = pipeline.permutation(3)
        for index in (1, 3):
            again = [torch.stack(parts) for parts in zip(*pipeline.epoch(index), strict=True)]
    assert torch.equal(x, again[0]), "earlier epochs matter"
    assert torch.equal(labels, again[1])
    assert not torch.equal(x, epoch(variant, images, ops, 4)[0])
    found = pixels(x.flatten(0, 1))
    assert found.min() > -0.5
    assert found.max() < 255.5
    classes = images.labels[order]
    if isinstance(op, MIXING):
        assert labels.shape == (*order.shape, 10)
        assert labels.dtype == torch.float32
        assert (labels.sum(dim=2) - 1).abs().max() < 1e-6
        assert (labels.gather(2, classes[:, :, None]) > 0).float().mean() > 0.95
        if isinstance(op, MixUp):  # a part of an image has not its mean
            level = 20 * (labels * torch.arange(10)).sum(dim=2).flatten() + 30
            edges = 4.0  # of the crop
            assert np.abs(found.mean(axis=(1, 2, 3)) - level.numpy()).max() < edges
    else:
        assert torch.equal(labels, classes)
        flat = found[:, 6:10, 6:10].std(axis=(1, 2, 3)) < 1
        assert (flat == (order.flatten() % 2 == 0).numpy()).mean() > 0.75  # by chance 0.5


def test_pasted_areas_are_shares_of_labels() -> None:
    flat = made(
        np.repeat(np.arange(64, dtype=np.uint8) % 2 * 255, SIZE * SIZE * 3).reshape(
            64, SIZE, SIZE, 3
        )
    )
    for name, kind in CASES:
        if kind is CutMix:
            x, labels = epoch(f"{name}[{OWN}]", flat, (OPS[kind],), 0)
            bright = torch.from_numpy(pixels(x.flatten(0, 1)).mean(axis=(1, 2, 3))) / 255
            odd = labels[..., 1::2].sum(dim=2).flatten()
            assert (bright - odd).abs().max() < 1e-3


@every_case
def test_draws_are_shared_as_declared(variant: str, op: Op) -> None:
    x, labels = epoch(variant, copies(64 * 32), (op,), 0)
    draws = building.parse(variant).semantics(Augmentation(ops=[op])).draws
    if isinstance(op, MIXING):
        share = labels.amax(dim=2)
        within = share.var(dim=1).mean() / share.var()
        assert (within > 0.5) == (draws[type(op).__name__] == "per sample")
        return
    # How much likelier two images of one batch are alike than two of the epoch.
    _, kinds = torch.unique(x.flatten(0, 1).flatten(1), dim=0, return_inverse=True)
    counts = torch.zeros(64, int(kinds.max()) + 1)
    counts.scatter_add_(1, kinds.view(64, 32), torch.ones(64, 32))
    within = pairs(counts) / (64 * 32 * 31)
    whole = pairs(counts.sum(dim=0)) / (64 * 32 * (64 * 32 - 1))
    assert (within / whole > 1.5) == (draws[type(op).__name__] == "per batch"), within / whole


def pairs(counts: Tensor) -> Tensor:
    return (counts * (counts - 1)).sum()


@every_case
@pytest.mark.parametrize(
    ("dtype", "memory_format"),
    [(torch.bfloat16, torch.channels_last), (torch.float32, torch.contiguous_format)],
)
def test_batches_have_the_requested_form(
    variant: str, op: Op, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    asked = {"dtype": dtype, "memory_format": memory_format}
    with build(variant, copies(64), (op,), batch_size=32, **asked) as pipeline:
        x, labels = next(iter(pipeline.epoch(0)))
    assert (x.dtype, x.requires_grad, x.shape) == (dtype, False, (32, 3, SIZE, SIZE))
    assert x.is_contiguous(memory_format=memory_format)
    assert labels.dtype == (torch.float32 if isinstance(op, MIXING) else torch.int64)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_op_is_not_called_equal(name: str, kind: type[Op]) -> None:
    policy = Augmentation(ops=[Crop(), OPS[kind]])
    own = building.parse(f"{name}[{OWN}]")
    differs = own.semantics(policy).differs
    assert list(differs) == [kind.__name__]
    assert ";" not in differs[kind.__name__], "tables join remarks by it"
    assert not own.semantics(Augmentation(ops=[Crop()])).differs
    assert f"{name}[{OWN}]" in building.own_variants(policy)
    assert f"{name}[{OWN}]" not in building.variants()
    with pytest.raises(Unsupported, match=rf"{name} has no {kind.__name__} by this suite's def"):
        building.parse(name).semantics(policy)


def refused() -> Iterator[tuple[str, Op, Images, str]]:
    grey = replace(copies(64), images=copies(64).images[..., :1], mean=(0.5,), std=(0.2,))
    yield "kornia", RandAugment(magnitude=0), copies(64), "neither the lowest nor the highest"
    yield "kornia", RandAugment(n=16), copies(64), "takes 1 to 15 ops"
    yield "kornia", TrivialAugment(), grey, "three channels"
    yield "dali", RandAugment(), grey, "three channels"


@pytest.mark.parametrize(("name", "op", "images", "why"), [*refused()])
def test_what_a_library_cannot_do_is_refused(name: str, op: Op, images: Images, why: str) -> None:
    if name not in {library.name for library in LIBRARIES}:
        pytest.skip(f"{name} is not usable here")
    with pytest.raises(Unsupported, match=why):
        build(f"{name}[{OWN}]", images, (op,))


@pytest.mark.skipif("dali" not in {each.name for each in LIBRARIES}, reason="dali is missing")
def test_a_dali_that_draws_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = dali_own.POLICIES[RandAugment]
    other = replace(policy, draws=lambda op: [(15, 2), (2, 2)])
    monkeypatch.setitem(dali_own.POLICIES, RandAugment, other)
    with pytest.raises(Unsupported, match="draws its RandAugment otherwise"):
        build(f"dali[{OWN}]", copies(64), (RandAugment(),))
