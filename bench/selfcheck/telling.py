"""The self-check in words: `selfcheck.md`, and what a call prints at its end."""

from collections.abc import Sequence

from bench.selfcheck.journal import Journal, Outcome, Status
from bench.text import printable

FILE = "selfcheck.md"
WORDS: dict[Status, str] = {
    "ok": "ok",
    "failed": "FAILED",
    "stopped": "its time was up",
    "interrupted": "interrupted",
    "skipped": "skipped",
    "not begun": "not begun",
}
SHOWN = (
    ("gpu", "GPU"),
    ("driver", "driver"),
    ("cpu", "CPU"),
    ("cores", "cores"),
    ("os", "system"),
    ("python", "Python"),
    ("torch", "torch"),
    ("torch_cuda", "CUDA of torch"),
    ("torchvision", "torchvision"),
    ("kornia", "kornia"),
    ("dali", "DALI"),
    ("timm", "timm"),
    ("commit", "commit"),
)


def markdown(journal: Journal, order: Sequence[str], compared: Sequence[str]) -> str:
    """The whole as Markdown.

    Args:
        journal: What ran.
        order: Names of the parts, the most important first.
        compared: Sentences beside published figures.
    """
    outcomes = sorted(journal.outcomes, key=lambda one: _place(one, order))
    bad = [one for one in outcomes if one.tail]
    blocks = [
        f"# Self-check on {_machine(journal)}",
        f"Device {journal.device}, source {journal.source}, scale {journal.scale}. "
        + _calls(journal),
        _table(outcomes),
        "## Beside published figures",
        "\n".join(f"- {line.strip()}" for line in compared) or "- No speed run has ended well yet.",
        *(["## What did not end well"] if bad else []),
        *(_ending(one) for one in bad),
        "## Machine and software",
        _environment(journal),
    ]
    return printable("\n\n".join(blocks)) + "\n"


def summary(outcomes: Sequence[Outcome], compared: Sequence[str], folder: str) -> str:
    """What a call prints at its end: each task in a line, and the comparison."""
    width = max((len(one.task) for one in outcomes), default=0)
    lines = [
        f"{WORDS[one.status]:<16} {one.task:<{width}} {one.seconds:>6.0f} s  {one.said}"
        for one in outcomes
    ]
    return printable("\n".join([*lines, "", *compared, "", f"all of it: {folder}"])) + "\n"


def _machine(journal: Journal) -> str:
    found = journal.calls[-1].environment
    if journal.device == "cuda":
        return str(found.get("gpu") or "an unknown GPU")
    return f"{found.get('cpu')}, {found.get('cores')} cores"


def _calls(journal: Journal) -> str:
    said = [
        f"{call.started}: {call.seconds:.0f} of {call.budget_s:.0f} s"
        + (", interrupted" if call.interrupted else "")
        for call in journal.calls
    ]
    return f"{len(said)} {'call' if len(said) == 1 else 'calls'} ({'; '.join(said)})."


def _place(outcome: Outcome, order: Sequence[str]) -> int:
    return order.index(outcome.part) if outcome.part in order else len(order)


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [
        f"| {one.task} | {WORDS[one.status]} | {one.seconds:.0f} | {_cell(one.said)} |"
        for one in outcomes
    ]
    return "\n".join(["| task | how it ended | s | what it said |", "|:--|:--|--:|:--|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _ending(outcome: Outcome) -> str:
    said = "\n".join(outcome.tail).replace("```", "'''")
    return f"**{outcome.task}**, `{outcome.command}`:\n\n```text\n{said}\n```"


def _environment(journal: Journal) -> str:
    found = journal.calls[-1].environment
    return "\n".join(
        f"- {word}: {found[key] if found.get(key) not in (None, '') else 'none'}"
        for key, word in SHOWN
        if key in found
    )
