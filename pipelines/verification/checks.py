"""Holds a pipeline to an op: order and labels, pixels, and how parameters are drawn."""

from dataclasses import dataclass

import torch

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Unsupported
from pipelines.catalog import Unavailable
from pipelines.ops import (
    MIXING,
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
from pipelines.verification import world
from pipelines.verification.trial import Trial, Wrong, require
from pipelines.verification.values import check_values

# The ops in the form in which they are tried; parameters that a check must know are pinned.
TRIED: dict[str, tuple[Op, ...]] = {
    "none": (),
    "Crop reflect": (Crop(pad=4, padding="reflect"),),
    "Crop zero": (Crop(pad=4, padding="zero"),),
    "HorizontalFlip": (HorizontalFlip(p=0.5),),
    "AlternatingFlip": (AlternatingFlip(),),
    "Cutout": (Cutout(size=5),),
    "Crop, HorizontalFlip": (Crop(pad=2), HorizontalFlip()),
    "RandomErasing": (RandomErasing(p=1.0, scale=(0.1, 0.3), ratio=(0.5, 2.0)),),
    "ColorJitter": (
        ColorJitter(
            brightness=(0.8, 0.8), contrast=(1.2, 1.2), saturation=(0.7, 0.7), hue=(0.1, 0.1)
        ),
    ),
    "Affine": (Affine(degrees=0.0, translate=0.0, scale=(1.25, 1.25)),),
    "RandomResizedCrop": (RandomResizedCrop(scale=(0.4, 1.0), ratio=(0.7, 1.4)),),
    "MixUp": (MixUp(alpha=0.8),),
    "CutMix": (CutMix(alpha=0.8),),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of trying one pipeline on one op.

    Args:
        pipeline: Its spelling.
        op: A key of `TRIED`.
        status: "ok", "wrong", or "skipped" where the library lacks the op or cannot run here.
        problem: What is wrong, or why it was skipped.
        error: The worst pixel's error, of 255; None where pixels were not compared.
        draws: "per sample" or "per batch", as declared; "" where nothing is drawn.
    """

    pipeline: str
    op: str
    status: str
    problem: str = ""
    error: float | None = None
    draws: str = ""


def verify(spelling: str, op: str, device: str) -> Finding:
    """Tries one pipeline on one op.

    Args:
        spelling: Of the pipeline.
        op: A key of `TRIED`.
        device: Where to try it.
    """
    ops = TRIED[op]
    try:
        draws = building.parse(spelling).library.semantics(Augmentation(ops=ops)).draws
        check_epochs(Trial(spelling, ops, device))
        error = check_values(Trial(spelling, ops, device), per_batch="per batch" in draws.values())
    except (Unsupported, Unavailable) as reason:
        return Finding(pipeline=spelling, op=op, status="skipped", problem=str(reason))
    except Wrong as reason:
        return Finding(pipeline=spelling, op=op, status="wrong", problem=str(reason))
    except Exception as fault:  # noqa: BLE001 - one way that breaks must not hide the others
        problem = f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}"
        return Finding(pipeline=spelling, op=op, status="wrong", problem=problem)
    declared = "per batch" if "per batch" in draws.values() else "per sample" if draws else ""
    return Finding(pipeline=spelling, op=op, status="ok", error=error, draws=declared)


def check_epochs(trial: Trial) -> None:
    """Every sample once, in our order, with its own label; seeds and epochs differ or repeat.

    Raises:
        Wrong: One of these is not so.
    """
    images = world.numbered(1000)
    mixes = any(isinstance(op, MIXING) for op in trial.ops)
    with trial.build(images, batch_size=128) as pipeline:
        epochs = {index: list(pipeline.epoch(index)) for index in (0, 1)}
        again = list(pipeline.epoch(0))
        for index, batches in epochs.items():
            order = pipeline.permutation(index)
            require([len(x) for x, _ in batches] == [128] * 7, "an epoch is not 7 whole batches")
            if mixes or any(isinstance(op, ColorJitter) for op in trial.ops):
                continue  # colours no longer tell the image
            for (x_BCHW, labels), index_B in zip(batches, order, strict=True):
                found = torch.from_numpy(world.which(x_BCHW))
                require(torch.equal(found, index_B), "samples are not those of our order")
                require(
                    torch.equal(labels.cpu(), images.labels[index_B]),
                    "labels are not those of the images",
                )
    for (one, _), (other, _) in zip(epochs[0], again, strict=True):
        require(torch.equal(one, other), "the same epoch again is not the same")
