"""Every variant does each op like the reference, with parameters drawn as declared.

The quick tier verifies each op once per implementation; variants that share them are slow.
"""

import pytest
import torch

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.ops import Affine, ColorJitter, Crop, Cutout, HorizontalFlip, Op, RandomChoice
from pipelines.verification.checks import POLICIES, check, verify
from pipelines.verification.made_images import copies
from pipelines.verification.trial import Trial
from tests.contract.variants import build, compiled, supported, variants

# Compiling takes seconds for each op: compiled variants get them in two policies.
TOGETHER: dict[str, tuple[Op, ...]] = {
    "flip_crop_cutout": (HorizontalFlip(p=0.5), Crop(pad=1, padding="reflect"), Cutout(size=10)),
    "flip_crop_zero": (HorizontalFlip(p=0.5), Crop(pad=2, padding="zero")),
}
# Workers only distribute the batches, see below.
ALONE = [variant for variant in variants() if "workers=2" not in variant]
SHARE_THEIR_OPS = (
    "dali[dynamic]",
    "torchvision_batch",
    "ffcv[eager]",
    "grain[eager]",
    "spdl[eager]",
    "turboloader[eager]",
)
CASES = [
    pytest.param(
        variant,
        op,
        id=f"{variant}-{op}",
        marks=pytest.mark.slow if variant in SHARE_THEIR_OPS else (),
    )
    for variant in ALONE
    if not compiled(variant)
    for op in POLICIES
]


@pytest.mark.parametrize(("variant", "op"), CASES)
def test_every_op_is_done_and_drawn_as_declared(variant: str, op: str) -> None:
    finding = verify(variant, op, "cpu")
    if finding.status == "skipped":
        pytest.skip(finding.problem)
    assert finding.status == "ok", finding.problem


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        pytest.param(variant, name, id=f"{variant}-{name}")
        for variant in ALONE
        for name in (TOGETHER if compiled(variant) else ["flip_crop_cutout"])
    ],
)
def test_ops_together_are_done_and_drawn_as_declared(variant: str, name: str) -> None:
    supported(variant, TOGETHER[name])
    library = building.parse(variant).library
    shared = not library.semantics(Augmentation(ops=TOGETHER[name])).per_sample
    assert check(Trial(variant, TOGETHER[name], "cpu", shared=shared)) < 0.1


@pytest.mark.parametrize("variant", [name for name in variants() if "workers=2" in name])
def test_workers_change_nothing(variant: str) -> None:
    ops: tuple[Op, ...] = Crop(), HorizontalFlip(), ColorJitter(), Affine(), Cutout(size=4)
    if RandomChoice in building.parse(variant).library.ops:
        ops = (*ops, RandomChoice())
    found = []
    for name in (variant, variant.replace("workers=2", "workers=0")):
        with build(name, copies(256), ops) as pipeline:
            found.append([torch.cat(parts) for parts in zip(*pipeline.epoch(1), strict=True)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
