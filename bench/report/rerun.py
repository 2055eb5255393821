"""The recorded command narrowed to one run: read from the record alone, so that it costs nothing.

`bench show` plans a command before it offers it; a page of hundreds of runs cannot wait for that.
"""

import shlex
from collections.abc import Iterable

from bench.record import Record
from bench.selection import only

ELSEWHERE = "again"  # a run that ended well is done where it is; it is trained again elsewhere
REPLACED = ("-k", "--seeds", "--seed")
FLAGS = ("--retry-failed", "--fail-fast", "--dry-run")


def rerun(record: Record, names: Iterable[str] = ()) -> str:
    """The command that trains this run again; the recorded one where it is not `bench run`.

    Args:
        record: Of any status.
        names: Of other cells, which may hold this one's name as a part.
    """
    try:
        words = shlex.split(record.command)
    except ValueError:  # a command that was cut
        return record.command
    if words[:2] != ["bench", "run"]:
        return record.command
    ended_well = record.status == "ok"
    kept = _without(words, (*REPLACED, "--out") if ended_well else REPLACED)
    kept += ["-k", only(record.cell.name, names), "--seed", str(record.seed)]
    kept += ["--out", ELSEWHERE] if ended_well else ["--retry-failed"]
    return shlex.join(kept)


def _without(words: list[str], options: tuple[str, ...]) -> list[str]:
    kept = []
    value_next = False
    for word in words:
        if value_next:
            value_next = False
        elif word in options:
            value_next = True
        elif word not in FLAGS and not word.startswith(tuple(f"{name}=" for name in options)):
            kept.append(word)
    return kept


__all__ = ["rerun"]
