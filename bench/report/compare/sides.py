"""The two sides of a comparison: each a results folder, a group in one, or a -k selection of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell import Cell
from bench.errors import UsageError
from bench.record import Record
from bench.selection import select
from bench.store.groups import groups
from bench.store.store import Store
from bench.text import sanitize

MAX_NAMES = 3  # run names that a message lists
LETTERS = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: no two of its records are of the same run on the same machine."""

    name: str  # for the title: folder and expression
    records: tuple[Record, ...]
    selected: bool = False  # whether -a or -b chose its cells
    notes: tuple[str, ...] = ()  # what was left out of it, a sentence each


def read_sides(
    a: str, b: str | None = None, *, both: str = "", select_a: str = "", select_b: str = ""
) -> tuple[Side, Side]:
    """Both sides with their records.

    Args:
        a: Results folder of the baseline.
        b: Results folder of the side that is judged; None for the folder of `a`.
        both: -k expression for the cells of both sides.
        select_a: -k expression for side a alone.
        select_b: -k expression for side b alone.

    Raises:
        StoreError: A folder cannot be read.
        UsageError: A folder is missing, a side is empty, a record is unreadable, or both sides are
            the same.
    """
    folders = [_folder(a), _folder(a if b is None else b)]
    if folders[0].resolve() == folders[1].resolve() and select_a == select_b:
        raise UsageError(
            f"both sides are {folders[0]}: name two folders, or two parts of one, as in "
            "-a native -b kornia"
        )
    records = _select_both([_read(folder) for folder in folders], both)
    first, second = (
        _side(letter, folder, found, expression)
        for letter, folder, found, expression in zip(
            LETTERS, folders, records, (select_a, select_b), strict=True
        )
    )
    _check_disjoint(first, second)
    return first, second


def _folder(text: str) -> Path:
    if not text or not Path(text).is_dir():
        raise UsageError(
            f"there is no results folder {text!r}: name one that `bench run` has written"
        )
    return Path(text)


def _read(root: Path) -> list[Record]:
    """All records; those of reference matrices only where there are no others."""
    found = groups(root)
    own = [group for group in found if not group.reference]
    records = []
    for group in own or found:
        unreadable: list[str] = []
        records += [sanitize(one) for one in Store(group.folder).records(unreadable.append)]
        if unreadable:
            more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
            raise UsageError(f"{unreadable[0]}{more}; compare again to do without it")
    if not records:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    return records


def _select_both(sides: Sequence[list[Record]], expression: str) -> list[list[Record]]:
    """The records that -k selects; a word is known if a cell of either side has it."""
    cells = _selected([record for records in sides for record in records], "-k", expression)
    found = [[record for record in records if record.cell in cells] for records in sides]
    for letter, records in zip(LETTERS, found, strict=True):
        if not records:
            raise UsageError(f"-k {expression!r} matches no cell of side {letter}")
    return found


def _side(letter: str, folder: Path, records: list[Record], expression: str) -> Side:
    cells = _selected(records, f"-{letter}", expression)
    records = [record for record in records if record.cell in cells]
    unique = _latest(records)
    notes = []
    if duplicates := len(records) - len(unique):
        notes.append(
            f"{letter}: {duplicates} records are of runs that another group of the same machine "
            "has too; the latest record of each run is used."
        )
    return Side(
        name=f"{folder} {expression}".strip(),
        records=tuple(unique),
        selected=bool(expression),
        notes=tuple(notes),
    )


def _selected(records: Iterable[Record], option: str, expression: str) -> set[Cell]:
    cells = list({record.cell: None for record in records})
    return set(select(cells, expression, option=option))


def _latest(records: Iterable[Record]) -> list[Record]:
    found: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda record: (record.finished, record.content_hash)):
        found[record.run_id, _machine(record)] = record
    return list(found.values())


def _machine(record: Record) -> str:
    return repr([record.environment.get(name) for name in ("gpu", "cpu", "cores", "torch")])


def _check_disjoint(a: Side, b: Side) -> None:
    in_b = {(record.run_id, record.content_hash) for record in b.records}
    shared = [record for record in a.records if (record.run_id, record.content_hash) in in_b]
    if shared:
        names = sorted({record.name for record in shared})
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        raise UsageError(
            f"{len(shared)} records are on both sides ({', '.join(names[:MAX_NAMES])}{more}): a "
            "run is not compared with itself; choose sides that share none, as in "
            "-a native -b kornia"
        )
