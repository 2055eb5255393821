"""The page of reasons: made from the entries' files, and the same in docs/."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.grid.registry import CATALOGS, listing
from bench.report import reasons
from bench.report.reasons import FOLDERS, Why, whys
from tests.checkout import ROOT

COMMAND = "python -m bench.report.reasons > docs/reasons.md"


def test_the_page_in_docs_is_the_one_that_is_made() -> None:
    made = reasons.markdown(reasons.chapters(), reasons.entries())
    kept = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert kept == made, f"docs/reasons.md is out of date; this mends it: {COMMAND}"


@pytest.mark.parametrize("kind", CATALOGS)
def test_what_is_read_from_files_is_what_the_registry_holds(kind: str) -> None:
    usable = [entry for entry in listing(kind) if not entry.problem]
    registered = {(entry.name, entry.why, entry.default) for entry in usable}
    read = {(why.name, why.why, why.default) for why in whys(FOLDERS[kind])}
    assert read == registered


def test_every_entry_is_on_the_page_with_its_reason() -> None:
    page = reasons.markdown(reasons.chapters(), reasons.entries())
    for kind, found in reasons.entries().items():
        section = page.partition(f"## Why these {kind}\n")[2].partition("\n## ")[0]
        for why in found:
            assert f"`{why.name}`" in section
            assert why.why.rstrip(".") in section
            assert (f"**`{why.name}`**" in section) == why.default


@pytest.mark.parametrize(
    "topic",
    ["accuracy", "macro f1", "unbalanced", "precision", "recall", "ceiling", "stall",
     "time to accuracy", "with compilation", "cross-entropy", "label smoothing",
     "validation chooses", "median", "interval"],
)  # fmt: skip
def test_what_people_must_argue_is_argued(topic: str) -> None:
    said = reasons.markdown(reasons.chapters(), {}).lower()
    assert topic in said


def test_the_example_of_unbalanced_classes_is_right() -> None:
    """Always answering the class of 90 %: precision 0.9 and recall 1; the other's F1 is 0."""
    f1 = 2 * 0.9 * 1.0 / (0.9 + 1.0)
    assert f"macro F1 of {100 * (f1 + 0) / 2:.0f} %" in reasons.METRICS.reasons[1].why


@given(name=st.text(), why=st.text())
def test_any_literal_entry_is_read(
    name: str, why: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("entries")
    source = f"entry = Entry(name={name!a}, why={why!a}, default=True)\n"
    (folder / "entry.py").write_text(source)
    assert whys(folder) == [Why(name=name, why=why, default=True)]


def test_a_file_that_is_no_python_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("entry = (")
    (tmp_path / "b.py").write_text("entry = Entry(name='b', why='because')\nother = Entry(name=b)")
    assert whys(tmp_path) == [Why(name="b", why="because")]
