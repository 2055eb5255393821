"""Why the suite measures what it does and why each entry exists, for the page and the docs.

The text is in `reasons.md` next to this file; the reasons of entries are in their files.

    python -m bench.report.reasons > docs/reasons.md
"""

import ast
from dataclasses import dataclass
from pathlib import Path

TEXT = Path(__file__).with_suffix(".md")
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "architectures": ROOT / "architectures",
    "optimizers": ROOT / "bench" / "optimizers",
    "augmentations": ROOT / "pipelines" / "augmentations",
    "pipelines": ROOT / "pipelines",
}


@dataclass(frozen=True, kw_only=True)
class Reason:
    """An entry, metric or rule, and its reason; `default` if the default grid uses it."""

    name: str
    why: str
    default: bool = False


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


def entries() -> dict[str, list[Reason]]:
    """The entries of each kind ("architectures", ...) with their reasons."""
    return {kind: entries_in(folder) for kind, folder in FOLDERS.items()}


def entries_in(folder: Path) -> list[Reason]:
    """The entries in the files of a folder: calls with a literal `name` and `why`.

    The files are not imported, as most import torch, which takes seconds.
    """
    found = []
    for path in sorted(folder.glob("*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # `bench list` names a file that cannot be imported
            continue
        values = [node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for call in (value for value in values if isinstance(value, ast.Call)):
            literal = {
                keyword.arg: keyword.value.value
                for keyword in call.keywords
                if isinstance(keyword.value, ast.Constant)
            }
            name, why = literal.get("name"), literal.get("why")
            if isinstance(name, str) and isinstance(why, str):
                found.append(Reason(name=name, why=why, default=literal.get("default") is True))
    return found


def markdown() -> str:
    """docs/reasons.md: the essay and the reasons of all entries."""
    parts = [TEXT.read_text(encoding="utf-8")]
    for kind, found in entries().items():
        lines = [f"## Why these {kind}", "", "In bold: what the default grid uses.", ""]
        for entry in found:
            name = f"**`{entry.name}`**" if entry.default else f"`{entry.name}`"
            lines.append(f"- {name}: {entry.why.rstrip('.')}.")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
