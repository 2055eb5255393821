"""The page of reasons, from the text and the entries' files, and its copy in docs/."""

import pytest

from bench.grid.registry import CATALOGS, listing
from bench.listing import readable_entries
from bench.report.reasons import essay, markdown
from tests.checkout import ROOT

COMMAND = "python -m bench.report.reasons > docs/reasons.md"


def test_docs_are_up_to_date() -> None:
    kept = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert kept == markdown(), f"docs/reasons.md is out of date; this command updates it: {COMMAND}"


@pytest.mark.parametrize("kind", CATALOGS)
def test_files_agree_with_the_registry(kind: str) -> None:
    usable = [entry for entry in listing(kind) if entry.why]  # the others cannot be imported
    registered = {(entry.name, entry.why, entry.default) for entry in usable}
    read = {(entry.name, entry.why, entry.default) for entry in readable_entries()[kind]}
    assert read == registered


def test_every_entry_is_on_the_page_with_its_reason() -> None:
    page = markdown()
    for kind, found in readable_entries().items():
        section = page.partition(f"## Why these {kind}\n")[2].partition("\n## ")[0]
        for entry in found:
            assert f"`{entry.name}`" in section
            assert entry.why.rstrip(".") in section
            assert (f"**`{entry.name}`**" in section) == entry.default


def test_the_text_is_read_by_chapter_and_its_example_is_correct() -> None:
    text = essay()
    assert text.title == "Reasons"
    assert text.lead.startswith("Why the suite measures")
    assert list(text.chapters) == ["Why these metrics", "Why cross-entropy", "Why these rules"]
    terms = [reason.name for reasons in text.chapters.values() for reason in reasons]
    assert len(terms) == 11
    assert all(reason.why for reasons in text.chapters.values() for reason in reasons)
    f1 = 2 * 0.9 * 1.0 / (0.9 + 1.0)
    reasons = {reason.name: reason.why for reason in essay().chapters["Why these metrics"]}
    assert f"macro F1 of {100 * (f1 + 0) / 2:.0f} %" in reasons["Macro F1"]
