"""A table drawn by our own code is, to the last blank, the one that rich draws."""

from io import StringIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from bench.report.aligned import Texts, aligned
from bench.report.layout import Column, _by_rich, for_terminal

PLAIN = st.text(st.sampled_from("a9 .%\u00b1\u4e2d\u00df:["), min_size=1, max_size=6)
ODD = st.text(
    st.sampled_from("a \u0301\u200d\u00a0\u2028\x0b\x1b\U0001f600") | st.characters(codec="utf-8"),
    max_size=6,
)


@st.composite
def tables(draw: st.DrawFn, text: st.SearchStrategy[str]) -> list[Texts]:
    rows = draw(st.integers(0, 4))
    return [
        Texts(
            header=draw(text),
            cells=draw(st.lists(text, min_size=rows, max_size=rows)),
            best=draw(st.sets(st.integers(0, rows - 1))) if rows else set(),
            right=draw(st.booleans()),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]


def by_rich(columns: list[Texts], width: int, color: bool) -> str:
    out = StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    console.print(_by_rich(columns))
    return out.getvalue()


FIGURES = Texts(header="x %", cells=["1.0", "22 \u00b1 3", " ", "4 "], best={1}, right=True)
NAMES = Texts(header="net", cells=["a", "\u4e2d\u6587", "", " b "], best={0, 2}, right=False)


@given(tables(PLAIN), st.booleans())
@example([FIGURES, NAMES], True)
@example([FIGURES, NAMES], False)
def test_a_table_that_fits_is_drawn_as_rich_draws_it(columns: list[Texts], color: bool) -> None:
    assert aligned(columns, width=80, color=color) == by_rich(columns, 80, color)


@given(tables(PLAIN | ODD), st.integers(1, 40), st.booleans())
def test_any_other_is_drawn_alike_or_left_to_rich(
    columns: list[Texts], width: int, color: bool
) -> None:
    assert aligned(columns, width=width, color=color) in (None, by_rich(columns, width, color))


def test_a_table_without_columns_is_left_to_rich() -> None:
    assert aligned([], width=80, color=False) is None


@pytest.mark.parametrize("color", [False, True])
def test_a_table_that_just_fits_is_drawn_and_one_character_less_is_left(color: bool) -> None:
    total = 6 + 4 + 2 * 3 + 1
    assert aligned([FIGURES, NAMES], width=total, color=color) == by_rich(
        [FIGURES, NAMES], total, color
    )
    assert aligned([FIGURES, NAMES], width=total - 1, color=color) is None


def test_what_moves_other_characters_is_left_to_rich() -> None:
    for text in ("a\u2028b", "a\x0bb", "a\x1b[1m", "\u202ea"):
        column = Texts(header="x", cells=[text], best=(), right=False)
        assert aligned([column], width=80, color=False) is None


def test_a_table_too_wide_is_wrapped_as_ever() -> None:
    columns = {"net": Column(header="net")}
    told = for_terminal(
        "T", columns, {"net": ["word " * 6]}, {"net": set()}, width=20, color=False, keep=True
    )
    assert told.count("word") == 6
    assert max(map(len, told.splitlines())) <= 20
