"""-k: the words select, typos are told, malformed expressions are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import Cell
from bench.errors import UsageError
from bench.selection import select


def cell(architecture: str, optimizer: str) -> Cell:
    return Cell(
        architecture=architecture,
        optimizer=optimizer,
        augmentation="flip_crop",
        pipeline="kornia[compiled]",
        epochs=1,
        batch_size=8,
    )


CELLS = [cell(a, o) for a in ("resnet18", "resnet34", "vit_tiny") for o in ("sgd", "adamw")]


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("", 6),
        ("resnet18", 2),
        ("resnet", 4),
        ("resnet and sgd", 2),
        ("resnet18 or vit_tiny", 4),
        ("not resnet", 2),
        ("not (resnet18 or vit_tiny) and adamw", 1),
        ("sgd and resnet18 or adamw and vit_tiny", 2),
        ("resnet18/sgd", 1),
        ("kornia[compiled]", 6),
    ],
)
def test_expressions(expression: str, count: int) -> None:
    assert len(select(CELLS, expression)) == count


def test_a_typo_gets_the_nearest_word() -> None:
    with pytest.raises(UsageError, match="did you mean resnet18"):
        select(CELLS, "resnt18")


def test_matching_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="matches none of the 6 cells"):
        select(CELLS, "resnet18 and vit_tiny")


@pytest.mark.parametrize(
    "expression", ["and", "resnet18 and", "(resnet18", "resnet18)", "not", "()"]
)
def test_malformed_expressions_are_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="malformed"):
        select(CELLS, expression)


@given(st.text(alphabet="()abnotrdsgd ", max_size=30))
def test_any_text_selects_or_is_refused(expression: str) -> None:
    try:
        chosen = select(CELLS, expression)
    except UsageError:
        return
    assert set(chosen) <= set(CELLS)
