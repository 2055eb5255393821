"""Why the suite measures what it does, and why each entry is there: on the page and in the docs.

The text is `reasons.md` beside this file; the reasons of entries are read from their files.

    python -m bench.report.reasons > docs/reasons.md
"""

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "architectures": ROOT / "architectures",
    "optimizers": ROOT / "bench" / "optimizers",
    "augmentations": ROOT / "pipelines" / "augmentations",
    "pipelines": ROOT / "pipelines",
}
_TERM = re.compile(r"\*\*(.+?)\.\*\* (.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A thing and why it is there.

    Args:
        default: Whether it is an entry that the default grid uses.
    """

    name: str
    why: str
    default: bool = False


@dataclass(frozen=True, kw_only=True)
class Essay:
    """The text in Markdown: a title, a lead, and chapters whose paragraphs begin with a term."""

    markdown: str

    @cached_property
    def title(self) -> str:
        """Its heading."""
        return self.markdown.splitlines()[0].removeprefix("# ")

    @cached_property
    def lead(self) -> str:
        """The sentence before the first chapter."""
        return _paragraphs(self.markdown.partition("\n## ")[0])[1]

    @cached_property
    def chapters(self) -> dict[str, list[Reason]]:
        """The reasons under each heading."""
        found = {}
        for chapter in self.markdown.split("\n## ")[1:]:
            heading, *terms = _paragraphs(chapter)
            matches = [_TERM.fullmatch(term) for term in terms]
            found[heading] = [Reason(name=m[1], why=m[2]) for m in matches if m]
        return found


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def essay() -> Essay:
    """What does not depend on the entries: metrics, loss and rules."""
    return Essay(markdown=Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))


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
    parts = [essay().markdown]
    for kind, found in entries().items():
        lines = [f"## Why these {kind}", "", "In bold: what the default grid uses.", ""]
        for entry in found:
            name = f"**`{entry.name}`**" if entry.default else f"`{entry.name}`"
            lines.append(f"- {name}: {entry.why.rstrip('.')}.")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
