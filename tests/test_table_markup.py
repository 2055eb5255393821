"""Tables for other documents: HTML and LaTeX that no text can break, and captions that say all."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Record
from bench.report.columns import TableError
from bench.report.layout import Column
from bench.report.markup import escaped, html
from bench.report.matrix import build
from bench.report.table import render, render_all
from bench.report.versions import versions
from bench.store import Store
from tests.made import ENVIRONMENT, made_failure, made_record

COLUMNS = {"a": Column(header="name"), "b": Column(header="share %", digits=1)}
ALIGNED = re.compile(r"\\begin\{tabular\}\{([lr]+)\}")


class Cells(HTMLParser):
    """What a browser would show in the cells of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def filed(folder: Path, *records: Record) -> Path:
    for record in records:
        Store(folder / "group").write(record)
    return folder


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_any_text_comes_through_html_as_it_is(text: str) -> None:
    drawn = html(text, [], COLUMNS, {"a": [text], "b": ["1.0"]}, {"a": set(), "b": {0}})
    parsed = Cells(drawn)
    assert parsed.cells[3].rstrip("\n") == text
    assert parsed.cells[0].rstrip("\n") == text
    assert set(parsed.tags) == {"table", "caption", "thead", "tr", "th", "tbody", "td", "strong"}


@given(st.text("\\{}~^<>|&%$#_\u00b1[*ab ", max_size=20))
def test_no_text_leaves_anything_special_in_latex(text: str) -> None:
    bare = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]|\$\\pm\$", "", escaped(text))
    assert not set(bare.removeprefix("{").removesuffix("}")) & set("\\{}~^<>|&%$#_")
    assert not escaped(text).startswith(("[", "*"))


def test_html_is_aligned_and_marks_the_best() -> None:
    text = html("title", ["note"], COLUMNS, {"a": ["x"], "b": ["1.0"]}, {"a": set(), "b": {0}})
    assert "<caption>title<br>\nnote</caption>" in text
    assert '<th scope="col" style="text-align: right">share %</th>' in text
    assert '<td style="text-align: right"><strong>1.0</strong></td>' in text
    assert "<td>x</td>" in text


def test_latex_has_as_many_columns_in_each_row_as_it_declares() -> None:
    records = [made_record(architecture="a_b", pipeline="torchvision[workers=2]"), made_failure()]
    text = render(build(records), "latex")
    aligned = ALIGNED.search(text)
    assert aligned
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(aligned[1]) - 1
    assert r"a\_b" in text
    assert r"accuracy \%" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1


def test_latex_marks_the_best() -> None:
    records = [made_record(architecture="a", accuracy=0.8), made_record(architecture="b")]
    assert r"\textbf{80.00}" in render(build(records), "latex")
    assert r"$\pm$" in render(build([made_record(seed) for seed in range(2)]), "latex")


@pytest.mark.parametrize("form", ["rich", "html", "latex", "json"])
def test_the_caption_names_machine_scale_source_and_versions(tmp_path: Path, form: str) -> None:
    environment = ENVIRONMENT | {"kornia": "0.9.0", "pipeline_bench": "0.1.0", "commit": "ab" * 20}
    folder = filed(tmp_path, made_record(record={"environment": environment}))
    text = render_all(folder, form)  # type: ignore[arg-type]
    for said in ("AMD EPYC, 2 cores", "cpu scale", "shapes", "torch 2.11.0", "kornia 0.9.0",
                 "pipeline-bench 0.1.0 (commit abababa)"):  # fmt: skip
        assert said in text


def test_several_versions_are_all_named() -> None:
    records = [
        made_record(record={"environment": {"torch": torch, "commit": commit}})
        for torch, commit in (("2.1", "a" * 40), ("2.2", "b" * 40), ("2.2", "c" * 40), ("", "d"))
    ]  # fmt: skip
    said = versions(records)
    assert "torch 2.1 and 2.2" in said
    assert "(commit aaaaaaa and bbbbbbb and ccccccc and 1 more)" in said
    assert versions([]) == ""
    assert versions([replace(records[0], environment={})]) == ""


def test_notes_stand_in_every_form_for_people(tmp_path: Path) -> None:
    folder = filed(tmp_path, made_record())
    for form in ("rich", "md", "html"):
        assert "found anew" in render_all(folder, form, target=0.5)  # type: ignore[arg-type]
    (table,) = json.loads(render_all(folder, "json", target=0.5))
    assert "found anew" in table["notes"][0]


def test_an_unknown_form_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="did you mean html"):
        render_all(tmp_path / "nowhere", "htm")  # type: ignore[arg-type]


def test_a_title_is_as_long_as_it_is(tmp_path: Path) -> None:
    folder = filed(tmp_path, made_record())
    first = render_all(folder, columns=["architecture"]).splitlines()[0]
    assert first.rstrip() == build([made_record()]).title
