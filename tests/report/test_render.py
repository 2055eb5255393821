"""A table as text: escaped, aligned, and fitted to a narrow terminal."""

import re
from itertools import product
from typing import Any

import pytest

from bench.report.columns import Column
from bench.report.matrix import build
from bench.report.render import Table
from bench.report.table import render
from tests.made import made_failure, made_record

LONG = "torchvision[workers=2]"


def rows_of(records: list[Any], width: int | None) -> tuple[list[str], str]:
    """The rows of a matrix and the text below it."""
    text = render(build(records), "rich", width=width)
    assert max(map(len, text.splitlines())) <= (width or 1000)
    _, rows, below = re.split(r"\n(?:[- ]+\n|\n(?=\S+:|Too))", text, maxsplit=2)
    return rows.splitlines(), below


def records(pipeline: str = LONG) -> list[Any]:
    busy = [{"timing_suspect": (f"others took {n} % of the CPU",)} for n in (5, 8)]
    return [
        *(made_record(seed, augmentation="flip_crop_cutout", pipeline=pipeline,
                      architecture="resnet18") for seed in range(3)),
        *(made_record(n, architecture=f"cnn{n}", record=one) for n, one in enumerate(busy)),
        made_record(time_to_accuracy_s=None),
        made_failure(architecture="vit", status="oom"),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 160, None])
def test_a_row_is_one_line_with_whole_names_and_the_columns_that_answer(width: int | None) -> None:
    rows, below = rows_of(records(), width)
    assert len(rows) == 5
    assert re.search(rf"resnet18[ /]+flip_crop_cutout[ /]+{re.escape(LONG)} ", rows[0])
    assert re.search(r" 70.00.* 69.00.* 1000.* 50.0.* 3.0", rows[0])
    assert (" \u00b1 " in rows[0]) is (width in (160, None))
    assert ("deviations over seeds are left out" in below) is (width in (80, 100))
    assert ("columns left out for width: train s" in below) is (width is not None)
    assert "others took 5 to 8 % of the CPU" in below
    assert below.count("timing suspect:") == 1
    assert "oom: RuntimeError: it broke" in below
    found = dict(re.findall(r"(?m)^(\w+): (.*)$", below))
    marked = {row.split()[-1]: row for row in rows if row.split()[-1] in found}
    assert {found[mark].split(":")[0] for mark in marked} >= {"timing suspect", "oom"}


def test_names_that_are_too_long_are_on_a_line_of_their_own() -> None:
    name = "a_library_of_somebody[workers=2,depth=15]"
    rows, _ = rows_of([*records(), made_record(pipeline=name)], 80)
    assert len(rows) == 7
    place = next(at for at, row in enumerate(rows) if name in row)
    assert rows[place] == f"resnet18/flip_crop/{name}"
    assert re.match(r" +70\.00 69\.00 ", rows[place + 1])


@pytest.mark.parametrize("width", [40, 60, 70, 80])
def test_marks_stay_beside_the_rows(width: int) -> None:
    sheets = [*records(), *(made_record(n, architecture=f"n{n}") for n in range(3))]
    text = render(build(sheets), "rich", width=width)
    blocks = [block for block in text.split("\n\n") if "\n----" in block]
    for block in blocks:
        rows = [line for line in block.splitlines() if line.startswith("cnn")]
        assert rows
        assert re.search(r" [a-z]$", block, re.MULTILINE), block
    assert len(blocks) == 1 or width == 40


@pytest.mark.parametrize("width", [60, 80])
def test_columns_that_must_stay_continue_below(width: int) -> None:
    names = ["architecture", "pipeline", "accuracy", "train_s", "time_to_accuracy_s", "seeds"]
    text = render(build(records()), "rich", columns=names, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f"{record.cell.architecture}/" in text for record in records())
    for header in ("acc. %", "train s", "time s"):
        assert header in text


@pytest.mark.parametrize(
    ("width", "begins"), [(None, "{} +{} +batch {}, width"), (72, r"{}/{} \(batch {}\)")]
)
def test_rows_of_one_name_begin_with_what_tells_them_apart(width: int | None, begins: str) -> None:
    sizes = (32, 64)
    made = [made_record(batch_size=size) for size in sizes]
    rows, _ = rows_of(made, width)
    assert [row.split()[:2] for row in rows] == [["batch", "32"], ["batch", "64"]]
    other: dict[str, Any] = {"architecture": "cnn4", "optimizer": "muon", "width": 1.0}
    made += [made_record(**other, batch_size=size) for size in sizes]
    rows, _ = rows_of(made, width)
    names = product((("cnn4", "muon"), ("resnet18", "sgd")), sizes)
    for row, (name, size) in zip(rows, names, strict=True):
        assert re.match(begins.format(*name, size), row)
    matrix = build(made)
    assert [*matrix.frame["cell"]] == [outcome.label for outcome in matrix.outcomes]


def test_long_words_are_broken_within_their_cell() -> None:
    columns = {"a": Column(header="net")}
    drawn = Table(title="t", columns=columns, cells={"a": ["x" * 50]}).terminal(width=30)
    assert max(map(len, drawn.splitlines())) <= 30
    assert drawn.count("x") == 50
