"""Tables for a terminal: drawn in lines where they fit, by rich where cells must be broken."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from bench.report import layout
from bench.report.layout import Column, for_terminal

WORDS = st.lists(st.sampled_from(["a", "é", "日本", "-", "1.5", "b c", "\U0001f44d"])).map("".join)


@given(data=st.data())
def test_lines_look_as_rich_draws_them(data: st.DataObject) -> None:
    headers = data.draw(st.lists(WORDS, min_size=1, max_size=4))
    columns = {str(place): Column(header=header) for place, header in enumerate(headers)}
    rows = data.draw(st.integers(0, 4))
    cells = {name: [data.draw(WORDS) for _ in range(rows)] for name in columns}
    best = {name: data.draw(st.sets(st.integers(0, 4))) for name in columns}
    found = for_terminal("t", columns, cells, best, notes=["n"], width=None, color=False)
    title, *lines, note = found.splitlines()
    assert (title.strip(), note.strip()) == ("t", "n")
    out = StringIO()
    Console(file=out, width=cell_len(lines[0]) + 1).print(layout._wrapped(columns, cells, best))
    assert lines == out.getvalue().splitlines()


def test_the_best_are_coloured_alone() -> None:
    columns = {"a": Column(header="net"), "b": Column(header="acc", digits=1)}
    cells = {"a": ["x", "yy"], "b": ["1.0", "22.5"]}
    drawn = for_terminal("t", columns, cells, {"a": [], "b": [1]}, width=60, color=True)
    assert "\x1b[1;32m22.5\x1b[0m" in drawn
    assert drawn.count("\x1b[1;32m") == 1


def test_what_does_not_fit_is_broken_within_its_cell() -> None:
    columns = {"a": Column(header="net")}
    drawn = for_terminal("t", columns, {"a": ["x" * 50]}, {"a": []}, width=30, color=False)
    assert max(map(len, drawn.splitlines())) <= 30
    assert drawn.count("x") == 50
