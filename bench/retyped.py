"""A recorded `bench run` narrowed to one run, by its words and its record alone: it costs nothing.

The page offers these words as they are; `bench show` plans them first, and others where they do not
give exactly the run.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from bench.cell import Cell
from bench.record import Record
from bench.selection import only

ELSEWHERE = Path("again")  # a run that is done is trained again in a results folder of its own
VERB = ["bench", "run"]
VALUES = (
    "-k", "--seeds", "--seed", "--source", "--image-size", "--device", "--scale", "--precision",
    "--progress", "--shard",
)  # fmt: skip
FLAGS = (
    "--decode", "--compile", "--no-compile", "--retry-failed", "--fail-fast", "--dry-run",
    "--profile", "--report", "--quiet", "--debug",
)  # fmt: skip


def narrowed(record: Record, names: Iterable[str] = (), out: Path | None = None) -> list[str]:
    """The words after `bench run` that train this run again; none where something else was typed.

    Args:
        record: Of any status. What ended well is trained in another results folder, so that its
            record stays what it is.
        names: Of other cells of the grid, which may hold this one's name as a part.
        out: The results folder that holds the record, if it is known better than was typed.
    """
    words = typed_words(record.command)
    if words is None:
        return []
    placed = out is not None or record.status == "ok"
    kept = _without(words, (*VALUES, "--out") if placed else VALUES)
    kept += ["-k", only(record.cell.name, names), "--seed", str(record.seed)]
    return kept + pinned(record.cell) + placing(record, out)


def typed_words(command: str) -> list[str] | None:
    """What stands after `bench run`; None where it is another command, or one that was cut."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return words[len(VERB) :] if words[: len(VERB)] == VERB else None


def given(words: list[str] | None, option: str) -> str | None:
    """What was given for an option, the last time; None where it was left out."""
    return next(reversed(given_all(words, option)), None)


def given_all(words: list[str] | None, option: str) -> list[str]:
    """What was given for an option that can be repeated."""
    found = []
    every = words or []
    for word, after in zip(every, [*every[1:], ""], strict=False):
        if word == option:
            found.append(after)
        elif word.startswith(f"{option}="):
            found.append(word.partition("=")[2])
    return found


def pinned(cell: Cell) -> list[str]:
    """What the machine chose where nothing was asked for, so that another does not choose anew."""
    said = {
        "--source": cell.source,
        "--device": cell.device,
        "--scale": cell.scale,
        "--precision": cell.precision,
    }
    words = [word for pair in said.items() for word in pair]
    return [*words, "--compile" if cell.compile else "--no-compile"]


def placing(record: Record, out: Path | None) -> list[str]:
    """Where it is trained again."""
    if record.status == "ok":
        return ["--out", str(ELSEWHERE)]
    return [*(["--out", str(out)] if out is not None else []), "--retry-failed"]


def line(words: list[str]) -> str:
    """The command as a person types it; a shell reads "~" only where it is not quoted."""
    texts = [
        "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word)
        for word in [*VERB, *words]
    ]
    return " ".join(texts)


def _without(words: list[str], options: tuple[str, ...]) -> list[str]:
    kept = []
    value_next = False
    for word in words:
        joined = word.startswith(tuple(f"{name}=" for name in options)) or (
            word.startswith("-k") and len(word) > len("-k")
        )
        if value_next:
            value_next = False
        elif word in options:
            value_next = True
        elif word not in FLAGS and not joined:
            kept.append(word)
    return kept
