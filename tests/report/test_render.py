"""A table as text: escaped, aligned, and cut where a terminal is narrow."""

from bench.report.columns import Column
from bench.report.matrix import build
from bench.report.render import Table
from bench.report.table import render
from tests.made import made_record


def test_text_in_a_reason_cannot_break_the_table() -> None:
    record = made_record(pipeline="a|b")
    lines = render(build([record]), "md").strip().splitlines()
    unescaped = [line.replace("\\|", "").count("|") for line in lines[2:]]
    assert len(set(unescaped)) == 1


def test_a_narrow_terminal_drops_columns_and_names_them() -> None:
    matrix = build([made_record(seed) for seed in range(2)])
    text = render(matrix, "rich", width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "left out for width: train s" in text
    assert "left out" not in render(matrix, "rich", width=300)
    assert "left out" not in render(matrix, "rich")


def test_only_the_best_values_are_coloured() -> None:
    columns = {"a": Column(header="net"), "b": Column(header="acc", kind="score", digits=1)}
    cells = {"a": ["x", "yy"], "b": ["1.0", "22.5"]}
    table = Table(title="t", columns=columns, cells=cells, best={"b": [1]})
    drawn = table.terminal(width=60, color=True)
    assert "\x1b[1;32m22.5\x1b[0m" in drawn
    assert drawn.count("\x1b[1;32m") == 1


def test_names_stay_whole_while_other_texts_can_be_wrapped() -> None:
    columns = {name: Column(header=name) for name in ("net", "notes")}
    cells = {"net": ["flipping_crop-cutout"], "notes": ["a note of several words " * 3]}
    drawn = Table(title="t", columns=columns, cells=cells).terminal(width=30)
    assert [line.split()[0] for line in drawn.splitlines()[4:6]] == ["flipping_", "crop-cutout"]
    assert max(map(len, drawn.splitlines())) <= 30


def test_long_words_are_broken_within_their_cell() -> None:
    columns = {"a": Column(header="net")}
    drawn = Table(title="t", columns=columns, cells={"a": ["x" * 50]}).terminal(width=30)
    assert max(map(len, drawn.splitlines())) <= 30
    assert drawn.count("x") == 50
