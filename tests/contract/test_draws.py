"""Each op does what the plain reference does, with parameters drawn evenly for each sample.

The chi-square tests reject below `ALPHA`. There are fewer than 200 of them, so a correct suite is
rejected by less than one seed in 5,000. `test_half_weight_ends_would_be_caught` shows their power.
"""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipelines import building
from pipelines.ops import Crop, Op
from pipelines.verification.reference import Explainer, parameters
from tests.contract.variants import (
    OPS,
    SIZE,
    alike,
    build,
    compiled,
    mean_255,
    noise_image,
    pixels,
    variants,
)

ALPHA = 1e-6
SAMPLES = 4096
TOLERANCE = 0.1  # of 255: well under half a step of uint8


def supported(variant: str, ops: tuple[Op, ...]) -> None:
    """Skips what a library says it lacks."""
    library = building.parse(variant).library
    for op in ops:
        if type(op) not in library.ops:
            pytest.skip(f"{library.name} has no {type(op).__name__}")


@cache
def drawn(variant: str, name: str) -> tuple[NDArray[np.int64], float]:
    """Parameters (SAMPLES, K) that explain a variant's outputs, and the worst pixel's error."""
    images = alike(SAMPLES)
    explainer = Explainer(OPS[name], noise_image().astype(np.float64), mean_255())
    found = []
    with build(variant, images, OPS[name], batch_size=512) as pipeline:
        for x_BCHW, _ in pipeline.epoch(0):
            found += explainer.explain(pixels(x_BCHW))
    return np.array([each.drawn for each in found]), max(each.error for each in found)


COMPILED = ("crop_flip", "flip_crop_zero", "cutout_flip")  # all ops, in three compilations
CASES = [
    pytest.param(variant, name, id=f"{variant}-{name}")
    for variant in variants()
    for name in (COMPILED if compiled(variant) else OPS)
]


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_every_output_is_one_that_the_reference_gives(variant: str, name: str) -> None:
    supported(variant, OPS[name])
    _, error = drawn(variant, name)
    assert error < TOLERANCE


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_parameters_are_drawn_evenly(variant: str, name: str) -> None:
    supported(variant, OPS[name])
    values, _ = drawn(variant, name)
    column = 0
    for op in OPS[name]:
        possible = np.array(list(parameters(op, SIZE, SIZE)))
        for part in range(possible.shape[1]):
            counts = np.array(
                [(values[:, column] == v).sum() for v in np.unique(possible[:, part])]
            )
            assert stats.chisquare(counts).pvalue > ALPHA, (op, part, counts)
            column += 1


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_parameters_are_drawn_for_each_sample_and_apart_from_each_other(
    variant: str, name: str
) -> None:
    supported(variant, OPS[name])
    values, _ = drawn(variant, name)
    neighbours = values[:-1], values[1:]
    for column in range(values.shape[1]):
        table = stats.contingency.crosstab(neighbours[0][:, column], neighbours[1][:, column]).count
        assert independent(table), f"parameter {column} of one sample tells that of the next"
        for other in range(column):
            table = stats.contingency.crosstab(values[:, other], values[:, column]).count
            assert independent(table), f"parameter {other} tells parameter {column}"


def independent(table: NDArray[np.int64]) -> bool:
    """Whether a contingency table shows no dependence."""
    return bool(stats.chi2_contingency(table).pvalue > ALPHA)


def test_half_weight_ends_would_be_caught() -> None:
    """The bias of a continuous crop position: the power of the test above against it."""
    offsets = 2 * Crop(pad=4).pad + 1
    weights = np.ones(offsets)
    weights[[0, -1]] = 0.5
    rng = np.random.default_rng(0)
    samples = rng.multinomial(SAMPLES, weights / weights.sum(), size=2000)
    caught = (stats.chisquare(samples, axis=1).pvalue < ALPHA).mean()
    assert caught > 0.999


def test_one_draw_for_the_whole_batch_would_be_caught() -> None:
    batches = np.random.default_rng(0).integers(0, 9, SAMPLES // 64).repeat(64)
    table = stats.contingency.crosstab(batches[:-1], batches[1:]).count
    assert not independent(table)
