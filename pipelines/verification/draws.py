"""Checks of pixels against the reference, and of the distribution of parameters."""

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import AlternatingFlip
from pipelines.verification import statistics
from pipelines.verification.readers import Reader
from pipelines.verification.trial import Delivered, Trial, require

COMPARED = 1024  # samples from another epoch and another seed


def check_draws(trial: Trial, reader: Reader) -> float:
    """Checks a pipeline's pixels and draws; returns the largest pixel error (0..255).

    Raises:
        BrokenPromise: A pixel is off, or draws are not as declared.
    """
    whole = trial.deliver(reader.images)
    drawn, error = reader.read(whole)
    require(error < reader.tolerance, f"a pixel is off by {error:.1f} of 255")
    if not reader.names:
        return error
    check_chances(reader, for_each_draw(drawn, trial))
    batches = None if trial.shared else COMPARED // trial.batch_size
    later = trial.deliver(reader.images, epoch=1, batches=batches)
    other = trial.deliver(reader.images, seed=1, batches=batches)
    for found, whose in ((later, "the next epoch's"), (other, "another seed's")):
        again, worst = reader.read(found)
        require(worst < reader.tolerance, f"a pixel is off by {worst:.1f} of 255")
        one = for_each_draw(drawn[: len(again)], trial)
        two = for_each_draw(again, trial)
        check_independent(reader, one, two, f"predicts {whose}")
        error = max(error, worst)
    if any(isinstance(op, AlternatingFlip) for op in trial.ops):
        check_alternating(whole, drawn, later, reader.read(later)[0])
    elif not trial.shared:
        one, two = by_sample(whole, drawn, later, reader.read(later)[0])
        check_independent(reader, one, two, "predicts the same sample's in the next epoch")
    return error


def check_chances(reader: Reader, drawn: NDArray[np.int64]) -> None:
    """Checks frequencies, and independence of the previous sample and other parameters.

    Raises:
        BrokenPromise: A check fails.
    """
    for column, (name, expected) in enumerate(zip(reader.names, reader.expected, strict=True)):
        values = drawn[:, column]
        counts = np.bincount(values, minlength=len(expected))
        known = len(counts) == len(expected)
        require(known and statistics.fits(counts, expected), f"{name} is not drawn as declared")
        for other in range(column if reader.independent else 0):
            independent = statistics.independent(values, drawn[:, other])
            require(independent, f"{reader.names[other]} predicts {name}")
    check_independent(reader, drawn[:-1], drawn[1:], "of one sample predicts that of the next")


def check_independent(
    reader: Reader, one: NDArray[np.int64], two: NDArray[np.int64], fault: str
) -> None:
    """Raises `BrokenPromise` with a parameter's name and `fault` unless draws are independent."""
    for column, name in enumerate(reader.names):
        independent = statistics.independent(one[:, column], two[:, column])
        require(independent, f"{name} {fault}")


def for_each_draw(drawn: NDArray[np.int64], trial: Trial) -> NDArray[np.int64]:
    """One row per draw: per sample, or per batch.

    Raises:
        BrokenPromise: Samples of a batch differ although it declares one draw.
    """
    if not trial.shared:
        return drawn
    batches = drawn.reshape(-1, trial.batch_size, drawn.shape[1])
    same = (batches == batches[:, :1]).all()
    require(same, "samples of a batch have different draws, though draws are declared as shared")
    return batches[:, 0]


def by_sample(
    whole: Delivered, drawn: NDArray[np.int64], later: Delivered, again: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The parameters of the samples that occur in both epochs."""
    place = np.full(max(whole.order.max(), later.order.max()) + 1, -1)
    place[whole.order] = np.arange(len(whole.order))
    at = place[later.order]
    return drawn[at[at >= 0]], again[at >= 0]


def check_alternating(
    whole: Delivered, drawn: NDArray[np.int64], later: Delivered, again: NDArray[np.int64]
) -> None:
    """Raises `BrokenPromise` unless each image is mirrored in exactly one of two epochs."""
    one, two = by_sample(whole, drawn, later, again)
    require(bool((one + two == 1).all()), "two epochs do not show both sides")
