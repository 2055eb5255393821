"""Checks of batches: form, samples, labels and reproducibility."""

import numpy as np
import torch
from torch import Tensor

from pipelines.base import Batch, normalise
from pipelines.ops import AUTOMATIC, ColorJitter, Grayscale, Solarize
from pipelines.sources.base import Images
from pipelines.verification import made_images, outcomes
from pipelines.verification.readers import EXACT, colour_halves, left_is_brighter
from pipelines.verification.trial import Trial, first, require

FEW_BATCHES = 1  # if part of an epoch is enough
FEW_IMAGES = 64  # checked images of a batch, if checking is slow
RECOLOURING = (ColorJitter, Grayscale, Solarize)  # colours don't identify their images
LEFT_OVER = 100  # images beyond the last full batch


def check_delivery(trial: Trial, images: Images) -> None:
    """Checks that an epoch has every sample once, in order, with its label, reproducibly.

    Raises:
        BrokenPromise: A check fails.
    """
    steps = len(images) // trial.batch_size
    with trial.build(images) as pipeline:
        batches = list(pipeline.epoch(0))
        require(len(batches) == steps, f"an epoch has {len(batches)} batches, not {steps}")
        for batch, index_B in zip(batches, pipeline.permutation(0), strict=True):
            check_form(trial, batch, torch.float32, torch.channels_last)
            check_samples(trial, images, batch, index_B)
        second = first(pipeline, 1, FEW_BATCHES)
        for batch, index_B in zip(second, pipeline.permutation(1), strict=False):
            check_samples(trial, images, batch, index_B)
    with trial.build(images) as fresh:
        # Straight to epoch 1: earlier epochs must not matter.
        for before, again in (
            (second, first(fresh, 1, FEW_BATCHES)),
            (batches, first(fresh, 0, FEW_BATCHES)),
        ):
            for (one, labels), (other, labels_again) in zip(before, again, strict=False):
                same = torch.equal(one, other) and torch.equal(labels, labels_again)
                require(same, "repeating an epoch gives other batches")
    check_evaluation(trial, made_images.noise_images(2 * trial.batch_size + LEFT_OVER))


def check_form(
    trial: Trial, batch: Batch, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Raises `BrokenPromise` unless shape, type, device and memory format are as requested."""
    x_BCHW, labels = batch
    require(len(x_BCHW) == trial.batch_size, f"a batch has {len(x_BCHW)} images")
    require(x_BCHW.dtype == dtype, f"images are {x_BCHW.dtype}, not {dtype}")
    for each in (x_BCHW, labels):
        device = each.device.type
        require(device == torch.device(trial.device).type, f"a batch is on the device {device}")
    require(x_BCHW.is_contiguous(memory_format=memory_format), f"memory is not in {memory_format}")
    wanted = torch.float32 if trial.mixes else torch.int64
    require(labels.dtype == wanted, f"labels are {labels.dtype}, not {wanted}")
    require(bool(x_BCHW.isfinite().all()), "a pixel is not a number")


def check_samples(trial: Trial, images: Images, batch: Batch, index_B: Tensor) -> None:
    """Raises `BrokenPromise` unless labels are right, and images if they can be identified."""
    if trial.mixes:
        return  # images and labels are checked together with the draws
    x_BCHW, labels_B = batch
    require(torch.equal(labels_B.cpu(), images.labels[index_B]), "labels are not in our order")
    fault = "samples are not in our order"
    op = trial.ops[0] if trial.ops else None
    if isinstance(op, AUTOMATIC):
        for pixels, index in zip(
            made_images.pixels(x_BCHW)[:FEW_IMAGES], index_B.tolist(), strict=False
        ):
            _, error = outcomes.counted(op, index % 2).nearest(pixels)
            require(error < EXACT, fault)
    elif isinstance(op, RECOLOURING):
        brighter = torch.from_numpy(left_is_brighter(made_images.pixels(x_BCHW)))
        require(torch.equal(brighter, index_B % 2 == 0), fault)
    else:
        require(torch.equal(torch.from_numpy(made_images.numbers_of(x_BCHW)), index_B), fault)


def check_evaluation(trial: Trial, images: Images) -> None:
    """Raises `BrokenPromise` unless evaluation gives the normalised source in order."""
    with trial.build(images, training=False) as pipeline:
        batches = list(pipeline.epoch(0))
    found, labels = (torch.cat([batch[part] for batch in batches]).cpu() for part in (0, 1))
    require(len(found) == len(images), f"evaluation shows {len(found)} of {len(images)} images")
    expected = normalise(images.images, images, torch.float32)
    require(torch.equal(labels, images.labels), "evaluation has other labels")
    require(bool((found - expected).abs().max() < 1e-4), "evaluation changes pixels")


def check_forms(trial: Trial) -> None:
    """Raises `BrokenPromise` unless other data types and memory formats are as requested."""
    images = made_images.numbered(trial.batch_size)
    forms = (
        (torch.bfloat16, torch.contiguous_format),
        (torch.float16, torch.channels_last),
    )
    for dtype, memory_format in forms:
        with trial.build(images, dtype=dtype, memory_format=memory_format) as pipeline:
            (batch,) = pipeline.epoch(0)
            order = pipeline.permutation(0)[0]
        check_form(trial, batch, dtype, memory_format)
        expected = normalise(images.images[order], images, torch.float32)
        off = (batch[0].float().cpu() - expected).abs().max()
        require(bool(off < 0.02), f"{dtype} is off by {off:.3f}")


def images_for(trial: Trial, drawn: int) -> Images:
    """A small set of distinguishable images.

    Args:
        drawn: Number of images in the checks of draws; another number may need a compilation.
    """
    count = (drawn if trial.compiled else 2 * trial.batch_size + LEFT_OVER) // 2 * 2
    if any(isinstance(op, AUTOMATIC) for op in trial.ops):
        pair = [outcomes.photo(outcomes.SIZE, number) for number in (0, 1)]
    elif any(isinstance(op, RECOLOURING) for op in trial.ops):
        pair = [colour_halves(), colour_halves()[:, ::-1]]
    else:
        return made_images.numbered(count)
    return made_images.made(np.tile(np.stack(pair), (count // 2, 1, 1, 1)))
