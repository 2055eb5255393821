"""Why the suite measures what it does: `reasons.md` next to this file, for the page."""

from dataclasses import dataclass
from pathlib import Path

TEXT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True, kw_only=True)
class Essay:
    """The general text about metrics, loss and rules."""

    title: str
    lead: str
    chapters: dict[str, dict[str, str]]  # heading to the reason for each term


def essay() -> Essay:
    """Reads `reasons.md`, whose paragraphs begin with a bold term."""
    head, *rest = TEXT.read_text(encoding="utf-8").split("\n## ")
    title, lead = _paragraphs(head)
    chapters = {}
    for chapter in rest:
        heading, *paragraphs = _paragraphs(chapter)
        terms = (paragraph.removeprefix("**").split(".** ", 1) for paragraph in paragraphs)
        chapters[heading] = dict(terms)
    return Essay(title=title.removeprefix("# "), lead=lead, chapters=chapters)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
