"""Verifies a pipeline's order and labels, pixels, and draws for one op."""

from dataclasses import dataclass, replace

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import BrokenPromise, Unsupported
from pipelines.catalog import Unavailable
from pipelines.ops import (
    Affine,
    AlternatingFlip,
    AutoAugment,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    MixUp,
    Op,
    RandAugment,
    RandomChoice,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    Solarize,
    TrivialAugment,
    VerticalFlip,
)
from pipelines.verification import delivery
from pipelines.verification.draws import check_draws
from pipelines.verification.readers import reader_for
from pipelines.verification.trial import Trial

SHARED_BATCH = 32  # batch size with one draw per batch; small, for many draws

# The verified policies: every op, alone or with others.
POLICIES: dict[str, tuple[Op, ...]] = {
    "none": (),
    "Crop reflect": (Crop(pad=4, padding="reflect"),),
    "Crop zero": (Crop(pad=4, padding="zero"),),
    "HorizontalFlip": (HorizontalFlip(p=0.5),),
    "VerticalFlip": (VerticalFlip(p=0.3),),
    "AlternatingFlip": (AlternatingFlip(),),
    "Cutout": (Cutout(size=5),),
    "Crop, HorizontalFlip": (Crop(pad=2), HorizontalFlip()),
    "RandomErasing": (RandomErasing(p=0.7, scale=(0.05, 0.4), ratio=(0.4, 2.5)),),
    "ColorJitter": (ColorJitter(hue=(-0.1, 0.1)),),
    "ColorJitter, pinned": (
        ColorJitter(
            brightness=(0.8, 0.8), contrast=(1.2, 1.2), saturation=(0.7, 0.7), hue=(0.1, 0.1)
        ),
    ),
    "Affine": (Affine(),),
    "Rotation": (Rotation(degrees=30.0),),
    "Grayscale": (Grayscale(p=0.4),),
    "Solarize": (Solarize(threshold=0.6, p=0.4),),
    "GaussianBlur": (GaussianBlur(kernel=5, sigma=(0.5, 2.0)),),
    "RandomResizedCrop": (RandomResizedCrop(scale=(0.4, 1.0), ratio=(0.7, 1.4)),),
    "RandAugment": (RandAugment(),),
    "TrivialAugment": (TrivialAugment(),),
    "AutoAugment": (AutoAugment(),),
    "MixUp": (MixUp(alpha=0.8),),
    "CutMix": (CutMix(alpha=0.8),),
    "RandomChoice": (RandomChoice(mix_up=MixUp(alpha=1.0), cut_mix=CutMix(alpha=0.8), p=0.4),),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result for one pipeline and one op.

    Args:
        op: A key of `POLICIES`.
        status: "ok", "wrong", or "skipped" if the library lacks the op, does another one by its
            name, or can't run here.
        problem: What is wrong, or why it was skipped.
        error: Largest pixel error on the scale 0..255; None if pixels were not compared.
        draws: "per sample" or "per batch", as declared; "" if nothing is drawn.
    """

    pipeline: str
    op: str
    status: str
    problem: str = ""
    error: float | None = None
    draws: str = ""


def verify(spelling: str, op: str, device: str) -> Finding:
    """Verifies one pipeline on one policy; an exception becomes the finding."""
    ops = POLICIES[op]
    try:
        semantics = building.parse(spelling).semantics(Augmentation(ops=ops))
        if semantics.differs:
            words = "; ".join(f"another {name}: {how}" for name, how in semantics.differs.items())
            return Finding(pipeline=spelling, op=op, status="skipped", problem=words)
        draws, shared = semantics.draws, not semantics.per_sample
        error = check(Trial(spelling, ops, device, shared=shared))
    except (Unsupported, Unavailable) as reason:
        return Finding(pipeline=spelling, op=op, status="skipped", problem=str(reason))
    except BrokenPromise as reason:
        return Finding(pipeline=spelling, op=op, status="wrong", problem=str(reason))
    except Exception as fault:  # noqa: BLE001 - a crash must not hide the others
        problem = f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}"
        return Finding(pipeline=spelling, op=op, status="wrong", problem=problem)
    declared = "per batch" if shared else "per sample" if draws else ""
    return Finding(pipeline=spelling, op=op, status="ok", error=error, draws=declared)


def check(trial: Trial) -> float:
    """Runs all checks; returns the largest pixel error on the scale 0..255.

    Raises:
        BrokenPromise: A check fails.
        Unsupported: The library lacks the op.
        Unavailable: It cannot run here.
    """
    reader = reader_for(trial.ops)
    delivery.check_delivery(trial, delivery.images_for(trial, len(reader.images)))
    if not trial.ops:
        delivery.check_forms(trial)
    if trial.shared:
        trial = replace(trial, batch_size=SHARED_BATCH)
    return check_draws(trial, reader)
