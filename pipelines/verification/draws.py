"""Pixels against the plain ways, and how parameters are drawn: the same checks for every op."""

import numpy as np
from numpy.typing import NDArray

from pipelines.ops import AlternatingFlip
from pipelines.verification import statistics
from pipelines.verification.trial import Delivered, Trial, require
from pipelines.verification.way import Way

COMPARED = 1024  # samples of another epoch and of another seed


def check_draws(trial: Trial, way: Way) -> float:
    """The worst pixel's error, of 255.

    Args:
        trial: What is tried.
        way: To its parameters.

    Raises:
        Wrong: A pixel is off, or draws are not as declared.
    """
    whole = trial.deliver(way.images)
    drawn, error = way.read(whole)
    require(error < way.tolerance, f"a pixel is off by {error:.1f} of 255")
    if not way.names:
        return error
    check_chances(way, for_each_draw(drawn, trial))
    batches = None if trial.shared else COMPARED // trial.batch_size
    later = trial.deliver(way.images, epoch=1, batches=batches)
    other = trial.deliver(way.images, seed=1, batches=batches)
    for found, said in ((later, "the next epoch's"), (other, "another seed's")):
        again, worst = way.read(found)
        require(worst < way.tolerance, f"a pixel is off by {worst:.1f} of 255")
        one = for_each_draw(drawn[: len(again)], trial)
        two = for_each_draw(again, trial)
        check_apart(way, one, two, f"tells {said}")
        error = max(error, worst)
    if any(isinstance(op, AlternatingFlip) for op in trial.ops):
        check_alternating(whole, drawn, later, way.read(later)[0])
    elif not trial.shared:
        one, two = by_sample(whole, drawn, later, way.read(later)[0])
        check_apart(way, one, two, "tells the same sample's in the next epoch")
    return error


def check_chances(way: Way, drawn: NDArray[np.int64]) -> None:
    """Each value as often as it should come, whatever came before it or with it.

    Raises:
        Wrong: It is not so.
    """
    for column, (name, expected) in enumerate(zip(way.names, way.expected, strict=True)):
        values = drawn[:, column]
        counts = np.bincount(values, minlength=len(expected))
        known = len(counts) == len(expected)
        require(known and statistics.fits(counts, expected), f"{name} is not drawn as declared")
        for other in range(column if way.apart else 0):
            apart = statistics.independent(values, drawn[:, other])
            require(apart, f"{way.names[other]} tells {name}")
    check_apart(way, drawn[:-1], drawn[1:], "of one sample tells that of the next")


def check_apart(way: Way, one: NDArray[np.int64], two: NDArray[np.int64], otherwise: str) -> None:
    """Parameters that must not tell each other.

    Raises:
        Wrong: They do.
    """
    for column, name in enumerate(way.names):
        apart = statistics.independent(one[:, column], two[:, column])
        require(apart, f"{name} {otherwise}")


def for_each_draw(drawn: NDArray[np.int64], trial: Trial) -> NDArray[np.int64]:
    """Parameters, one for each draw: of each sample, or of each batch.

    Raises:
        Wrong: Samples of a batch differ where it shares its draws.
    """
    if not trial.shared:
        return drawn
    batches = drawn.reshape(-1, trial.batch_size, drawn.shape[1])
    same = (batches == batches[:, :1]).all()
    require(same, "samples of a batch have draws of their own, though they are declared as shared")
    return batches[:, 0]


def by_sample(
    whole: Delivered, drawn: NDArray[np.int64], later: Delivered, again: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The parameters of the samples of `later` in both epochs."""
    place = np.full(max(whole.order.max(), later.order.max()) + 1, -1)
    place[whole.order] = np.arange(len(whole.order))
    at = place[later.order]
    return drawn[at[at >= 0]], again[at >= 0]


def check_alternating(
    whole: Delivered, drawn: NDArray[np.int64], later: Delivered, again: NDArray[np.int64]
) -> None:
    """Each image is mirrored in one of two epochs.

    Raises:
        Wrong: One is not, or in both.
    """
    one, two = by_sample(whole, drawn, later, again)
    require(bool((one + two == 1).all()), "two epochs do not show both sides")
