"""The reasons on the page: from the text, from the entries' files, and their copy in docs/."""

import pytest

from bench.grid.registry import CATALOGS, listing
from bench.listing import readable_entries
from bench.report.reasons import TEXT, essay
from tests.checkout import ROOT

DOCS = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")


def test_docs_have_the_text_of_the_page_and_the_default_grid() -> None:
    assert TEXT.read_text(encoding="utf-8").partition("\n## ")[2] in DOCS
    for entries in readable_entries().values():
        assert not [
            entry.name for entry in entries if entry.default and f"`{entry.name}`" not in DOCS
        ]


@pytest.mark.parametrize("kind", CATALOGS)
def test_files_agree_with_the_registry(kind: str) -> None:
    usable = [entry for entry in listing(kind) if entry.why]  # the others cannot be imported
    registered = {(entry.name, entry.why, entry.default) for entry in usable}
    read = {(entry.name, entry.why, entry.default) for entry in readable_entries()[kind]}
    assert read == registered


def test_the_text_is_read_by_chapter_and_its_example_is_correct() -> None:
    text = essay()
    assert text.title == "Reasons"
    assert text.lead.startswith("Why the suite measures")
    assert list(text.chapters) == ["Why these metrics", "Why cross-entropy", "Why these rules"]
    reasons = {term: why for each in text.chapters.values() for term, why in each.items()}
    assert len(reasons) == 11
    assert all(reasons.values())
    f1 = 2 * 0.9 * 1.0 / (0.9 + 1.0)
    assert f"macro F1 of {100 * (f1 + 0) / 2:.0f} %" in reasons["Macro F1"]
