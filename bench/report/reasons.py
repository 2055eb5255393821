"""Why the suite measures what it does and why each entry exists, for the page and the docs.

The text is in `reasons.md` next to this file; the reasons of entries are in their files.

    python -m bench.report.reasons > docs/reasons.md
"""

from dataclasses import dataclass
from pathlib import Path

from bench.listing import readable_entries

TEXT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A metric or rule and its reason."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Essay:
    """The general text about metrics, loss and rules, by heading."""

    title: str
    lead: str
    chapters: dict[str, list[Reason]]


def essay() -> Essay:
    """Reads `reasons.md`, whose paragraphs begin with a bold term."""
    head, *rest = TEXT.read_text(encoding="utf-8").split("\n## ")
    title, lead = _paragraphs(head)
    chapters = {}
    for chapter in rest:
        heading, *paragraphs = _paragraphs(chapter)
        terms = [paragraph.removeprefix("**").split(".** ", 1) for paragraph in paragraphs]
        chapters[heading] = [Reason(name=name, why=why) for name, why in terms]
    return Essay(title=title.removeprefix("# "), lead=lead, chapters=chapters)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def markdown() -> str:
    """docs/reasons.md: the essay and the reasons of all entries."""
    parts = [TEXT.read_text(encoding="utf-8")]
    for kind, found in readable_entries().items():
        lines = [f"## Why these {kind}", "", "In bold: what the default grid uses.", ""]
        for entry in found:
            name = f"**`{entry.name}`**" if entry.default else f"`{entry.name}`"
            lines.append(f"- {name}: {entry.why.rstrip('.')}.")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
