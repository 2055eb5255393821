"""The two sides of a comparison: folders, or parts of them, and the records of each.

A side is spelled "FOLDER" or "FOLDER@KEY=VALUE,KEY=VALUE", as in "results@commit=3145b0a".

What follows "@" in a side: which records of a folder are meant, by what they tell of their run.

commit=3145b0a              its beginning, four digits or more
torch=2.14                  a version or its beginning: 2.14.1, not 2.140
machine=epyc                a part of the machine's name
date=2026-11-25             a day, a month (2026-11) or an hour (2026-11-25T10), in UTC
date=2026-11-01..2026-11-20 from one to the other, either may be left out
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell import Cell
from bench.errors import UsageError
from bench.record import Record
from bench.selection import select
from bench.store.files import slug
from bench.store.groups import groups
from bench.store.store import Store
from bench.text import sanitize
from pipelines.catalog import unknown_name

MOST_KNOWN = 6  # values that a message names
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?")
_COMMIT = re.compile(r"[0-9a-f]{4,40}")


@dataclass(frozen=True, kw_only=True)
class Filed:
    """A record and the name of the machine that its group is filed under."""

    record: Record
    machine: str


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition on the records of a side, compared by what was typed."""

    key: str
    value: str

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.key}={self.value}"

    def keep(self, filed: Iterable[Filed]) -> list[Filed]:
        """The records that fulfil it.

        Raises:
            UsageError: There is none; the message says what there is.
        """
        found = list(filed)
        kept = [one for one in found if _TESTS[self.key](one, self.value)]
        if not kept:
            counts = Counter(_VALUES[self.key](one) or "unknown" for one in found)
            there = [f"{value} ({number})" for value, number in sorted(counts.items())]
            more = f" and {len(there) - MOST_KNOWN} more" if len(there) > MOST_KNOWN else ""
            raise UsageError(
                f"no record has {self.text}: there are {', '.join(there[:MOST_KNOWN])}{more}"
            )
        return kept


def conditions(typed: str, text: str) -> tuple[Condition, ...]:
    """Reads "KEY=VALUE,KEY=VALUE"; none for an empty text.

    Args:
        typed: The whole side, for messages.
        text: What follows the folder's "@".

    Raises:
        UsageError: A condition is malformed or unknown.
    """
    return tuple(_condition(typed, part.strip()) for part in text.split(",")) if text else ()


def _condition(typed: str, text: str) -> Condition:
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise UsageError(
            f"{typed!r} is malformed at {text!r}: after @ stand KEY=VALUE, with commas between "
            f"them and {', '.join(_TESTS)} as keys; choose cells with -a, -b and -k"
        )
    if key not in _TESTS:
        raise UsageError(f"{typed!r}: {unknown_name('condition', key, list(_TESTS))}")
    if key == "commit" and not _COMMIT.fullmatch(value):
        raise UsageError(
            f"{typed!r}: a commit is its first 4 to 40 digits of 0-9a-f, got {value!r}"
        )
    if key == "date":
        _check_date(typed, value)
    return Condition(key=key, value=value)


def _check_date(typed: str, value: str) -> None:
    bounds = value.split("..")
    if len(bounds) > 2 or not any(bounds) or not all(_DATE.fullmatch(b) for b in bounds if b):
        raise UsageError(
            f"{typed!r}: a date is 2026-11-25, 2026-11 or 2026-11-25T10, or two of them with .. "
            f"between, got {value!r}"
        )


def _commit(filed: Filed) -> str:
    return str(filed.record.environment.get("commit") or "")


def _torch(filed: Filed) -> str:
    return str(filed.record.environment.get("torch") or "")


def _is_version(filed: Filed, value: str) -> bool:
    found = _torch(filed)
    return found.startswith(value) and not found[len(value) : len(value) + 1].isalnum()


def _is_machine(filed: Filed, value: str) -> bool:
    known = filed.record.environment
    names = (filed.machine, str(known.get("gpu") or ""), str(known.get("cpu") or ""))
    return bool(slug(value)) and any(slug(value) in slug(name) for name in names)


def _is_date(filed: Filed, value: str) -> bool:
    bounds: Sequence[str] = value.split("..")
    first, last = bounds[0], bounds[-1]
    started = filed.record.started
    return started[: len(first)] >= first and (not last or started[: len(last)] <= last)


_TESTS: dict[str, Callable[[Filed, str], bool]] = {
    "commit": lambda filed, value: _commit(filed).startswith(value),
    "machine": _is_machine,
    "torch": _is_version,
    "date": _is_date,
}
_VALUES: dict[str, Callable[[Filed], str]] = {
    "commit": lambda filed: _commit(filed)[:7],
    "machine": lambda filed: filed.machine,
    "torch": _torch,
    "date": lambda filed: filed.record.started[:10],
}

MOST_NAMES = 3
LETTERS = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be compared.

    Args:
        a: The side that is compared with, as it was typed.
        b: The side that is judged; None for the folder of `a`.
        select: Expression as of -k for the cells of both sides.
        select_a: Likewise, of side a alone.
        select_b: Likewise, of side b alone.
    """

    a: str
    b: str | None = None
    select: str = ""
    select_a: str = ""
    select_b: str = ""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side.

    Args:
        name: For the title: folder, conditions and expression.
        records: No two of the same run on the same machine.
        chosen: Whether cells were chosen for this side alone.
        notes: What was left out of it, a sentence each.
    """

    name: str
    records: tuple[Record, ...]
    chosen: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A side as it was typed: a folder and conditions on its records."""

    folder: Path
    conditions: tuple[Condition, ...]


def read_sides(asked: Asked) -> tuple[Side, Side]:
    """Both sides with their records.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
        UsageError: A side is malformed or empty, a record is unreadable, or both are the same.
    """
    first = _place(asked.a)
    second = _Place(folder=first.folder, conditions=()) if asked.b is None else _place(asked.b)
    if first.folder.resolve() == second.folder.resolve():
        _check_apart(asked, first, second)
    filed = {place.folder: _filed(place.folder) for place in (first, second)}
    found = [_fulfilling(place, filed[place.folder]) for place in (first, second)]
    found = _of_both(found, asked.select)
    texts = (asked.select_a, asked.select_b)
    a, b = (
        _side(letter, place, records, text)
        for letter, place, records, text in zip(LETTERS, (first, second), found, texts, strict=True)
    )
    shared = {(one.run_id, one.content_hash) for one in a.records} & {
        (one.run_id, one.content_hash) for one in b.records
    }
    if shared:
        names = sorted({one.name for one in a.records if (one.run_id, one.content_hash) in shared})
        raise UsageError(
            f"{len(shared)} records are on both sides ({_some(names)}): a run is not compared with "
            "itself; choose sides that share none, as in -a native -b kornia"
        )
    return a, b


def _check_apart(asked: Asked, first: _Place, second: _Place) -> None:
    if first.conditions == second.conditions and asked.select_a == asked.select_b:
        raise UsageError(
            f"both sides are {first.folder}: name two folders, or two parts of one, as in "
            "-a native -b kornia or results@commit=3145b0a results@commit=9f2c1d4"
        )


def _place(text: str) -> _Place:
    """A folder may have "@" in its name: the longest part that is a folder is it."""
    cuts = [len(text), *(at for at, mark in enumerate(text) if mark == "@")]
    for cut in sorted(cuts, reverse=True):
        if cut and Path(text[:cut]).is_dir():
            return _Place(folder=Path(text[:cut]), conditions=conditions(text, text[cut + 1 :]))
    folder = text.partition("@")[0]
    raise UsageError(
        f"there is no results folder {folder!r}: name one that `bench run` has written, with "
        "conditions after @ if need be, as in results@commit=3145b0a"
    )


def _filed(root: Path) -> list[Filed]:
    """All records; reference matrices only where there is nothing else."""
    found = groups(root)
    own = [group for group in found if not group.reference]
    filed = []
    for group in own or found:
        wrong: list[str] = []
        filed += [
            Filed(record=sanitize(record), machine=group.machine)
            for record in Store(group.folder).records(wrong.append)
        ]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UsageError(f"{wrong[0]}{more}; compare again to do without it")
    if not filed:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    return filed


def _fulfilling(place: _Place, filed: list[Filed]) -> list[Record]:
    for condition in place.conditions:
        filed = condition.keep(filed)
    return [one.record for one in filed]


def _of_both(sides: Sequence[list[Record]], expression: str) -> list[list[Record]]:
    """The records that -k chooses; a word that one side has is known."""
    chosen = _chosen([record for records in sides for record in records], "-k", expression)
    found = [[record for record in records if record.cell in chosen] for records in sides]
    for letter, records in zip(LETTERS, found, strict=True):
        if not records:
            raise UsageError(f"-k {expression!r} matches no cell of side {letter}")
    return found


def _side(letter: str, place: _Place, records: list[Record], alone: str) -> Side:
    chosen = _chosen(records, f"-{letter}", alone)
    records = [record for record in records if record.cell in chosen]
    unique = _latest(records)
    notes = []
    if left_out := len(records) - len(unique):
        notes.append(
            f"{letter}: {left_out} records are of runs that another group of the same machine has "
            "too; those that ended last count."
        )
    parts = [str(place.folder), *(one.text for one in place.conditions), alone]
    return Side(
        name=" ".join(filter(None, parts)),
        records=tuple(unique),
        chosen=bool(alone),
        notes=tuple(notes),
    )


def _chosen(records: Iterable[Record], option: str, expression: str) -> set[Cell]:
    cells = list({record.cell: None for record in records})
    try:
        return set(select(cells, expression))
    except UsageError as error:  # its sentence knows of one option only
        said = str(error).replace("-k", option, 1).replace("the grid's", "the side's")
        raise UsageError(said) from error


def _latest(records: Iterable[Record]) -> list[Record]:
    found: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda one: (one.finished, one.content_hash)):
        found[record.run_id, _where(record.environment)] = record
    return list(found.values())


def _where(environment: Mapping[str, object]) -> str:
    return repr([environment.get(name) for name in ("gpu", "cpu", "cores", "torch")])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
