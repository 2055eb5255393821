"""The page of reasons, from the text and the entries' files, and its copy in docs/."""

from pathlib import Path

import pytest

from bench.grid.registry import CATALOGS, listing
from bench.report.reasons import FOLDERS, Reason, entries, entries_in, essay, markdown
from tests.checkout import ROOT

COMMAND = "python -m bench.report.reasons > docs/reasons.md"


def test_docs_are_up_to_date() -> None:
    kept = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert kept == markdown(), f"docs/reasons.md is out of date; this command updates it: {COMMAND}"


@pytest.mark.parametrize("kind", CATALOGS)
def test_files_agree_with_the_registry(kind: str) -> None:
    usable = [entry for entry in listing(kind) if not entry.problem]
    registered = {(entry.name, entry.why, entry.default) for entry in usable}
    read = {(entry.name, entry.why, entry.default) for entry in entries_in(FOLDERS[kind])}
    assert read == registered


def test_every_entry_is_on_the_page_with_its_reason() -> None:
    page = markdown()
    for kind, found in entries().items():
        section = page.partition(f"## Why these {kind}\n")[2].partition("\n## ")[0]
        for entry in found:
            assert f"`{entry.name}`" in section
            assert entry.why.rstrip(".") in section
            assert (f"**`{entry.name}`**" in section) == entry.default


def test_the_text_is_read_by_chapter() -> None:
    text = essay()
    assert text.title == "Reasons"
    assert text.lead.startswith("Why the suite measures")
    assert list(text.chapters) == ["Why these metrics", "Why cross-entropy", "Why these rules"]
    terms = [reason.name for reasons in text.chapters.values() for reason in reasons]
    assert len(terms) == 11
    assert all(reason.why for reasons in text.chapters.values() for reason in reasons)


def test_the_example_of_unbalanced_classes_is_correct() -> None:
    """Always predicting the class of 90 %: precision 0.9 and recall 1; the other's F1 is 0."""
    f1 = 2 * 0.9 * 1.0 / (0.9 + 1.0)
    reasons = {reason.name: reason.why for reason in essay().chapters["Why these metrics"]}
    assert f"macro F1 of {100 * (f1 + 0) / 2:.0f} %" in reasons["Macro F1"]


@pytest.mark.parametrize("text", ["plain", "", 'it\'s "quoted"', "a\\b\n\u00e9\u65e5"])
def test_any_literal_entry_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "entry.py").write_text(f"entry = Entry(name={text!a}, why={text!a}, default=True)")
    assert entries_in(tmp_path) == [Reason(name=text, why=text, default=True)]


def test_a_file_with_a_syntax_error_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("entry = (")
    (tmp_path / "b.py").write_text("entry = Entry(name='b', why='because')\nother = Entry(name=b)")
    assert entries_in(tmp_path) == [Reason(name="b", why="because")]
