"""Ops are frozen data that refuses what no library could carry out."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pipelines.ops import Crop, Cutout, HorizontalFlip, Op


@pytest.mark.parametrize(
    ("op", "bad"),
    [
        (Crop, {"pad": 0}),
        (Crop, {"pad": -1}),
        (Crop, {"padding": "edge"}),
        (HorizontalFlip, {"p": 1.5}),
        (HorizontalFlip, {"p": -0.1}),
        (HorizontalFlip, {"p": float("nan")}),
        (Cutout, {"size": 0}),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(op: type[Op], bad: dict[str, Any]) -> None:
    (value,) = bad.values()
    with pytest.raises(ValueError, match=rf"{op.__name__}.*{value}"):
        op(**bad)


@pytest.mark.parametrize("p", [0, 0.0, 0.5, 1])
def test_the_ends_of_a_probability_are_allowed(p: float) -> None:
    assert HorizontalFlip(p=p).p == p


@pytest.mark.parametrize("op", [Crop(), HorizontalFlip(), Cutout()])
def test_ops_are_frozen_and_compared_by_value(op: Op) -> None:
    assert op == type(op)()
    assert hash(op) == hash(type(op)())
    with pytest.raises(FrozenInstanceError):
        op.size = 3  # type: ignore[attr-defined]


def test_parameters_are_named() -> None:
    with pytest.raises(TypeError):
        Crop(4)  # type: ignore[misc]
