"""The two sides of a comparison: their records, which of their cells match, and what differs.

A side is a results folder, one group in it, or a -k selection of either. Cells are matched by their
fields, except for those in which the sides have no value in common: these are what is compared. For
recipe, batch size, versions, images, machine and torch that is decided for each matched cell. The
commit and other software need not be equal; differences are listed.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bench.cell import AXES, FIELDS, fields_of
from bench.errors import UsageError
from bench.naming import Names, recipe_settings
from bench.record import Record
from bench.report.caveats import failed_runs, suspect_times
from bench.report.rows import Key, Outcome, grouped, labels
from bench.selection import matching
from bench.store.files import StoreError
from bench.store.groups import groups
from bench.store.predictions import Predictions
from bench.store.store import Store
from bench.text import count, listed

LETTERS = ("a", "b")
LOOSE = fields_of("recipe")  # fields of a cell that follow from its net and optimizer
STRICT = tuple(name for name in FIELDS if name not in LOOSE)
MAX_NAMES = 4  # that a message lists
UNLISTED = ("dirty", "host", "gpu_mark", "ram_gib")  # of the environment


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison."""

    name: str  # folder and expression
    records: tuple[Record, ...]
    selected: bool = False  # whether -a or -b chose its cells
    stores: Mapping[str, Store] = field(default_factory=dict)  # of records, by content hash

    def predictions(self, outcome: Outcome[Record]) -> list[Predictions]:
        """The predictions of a cell's seeds, where they were kept and agree with the record."""
        found = {}
        for run in outcome.good:
            try:
                kept = self.stores[run.content_hash].load_predictions(run.run_id)
            except (KeyError, StoreError):  # results may be shared without them
                continue
            number = len(kept.labels)
            if number and run.metrics and round(run.metrics.accuracy * number) == kept.right.sum():
                found[run.seed] = kept
        return list(found.values())


def read_sides(
    a: str, b: str | None = None, *, both: str = "", select_a: str = "", select_b: str = ""
) -> tuple[Side, Side]:
    """Both sides with their records, from results folders and -k expressions.

    Args:
        a: Folder of the baseline.
        b: Folder of the side that is judged; None for that of `a`.
        both: Selects cells of both sides; `select_a` and `select_b` of one.

    Raises:
        StoreError: A folder is missing or cannot be read.
        UsageError: A side is empty, a record is unreadable, or both sides are the same.
    """
    folders = [Path(a), Path(a if b is None else b)]
    if folders[0].resolve() == folders[1].resolve() and select_a == select_b:
        raise UsageError(
            f"both sides are {folders[0]}: name two folders, or two parts of one, as in "
            "-a native -b kornia"
        )
    read = dict(zip(LETTERS, map(_read, folders), strict=True))
    found = matching({letter: side.records for letter, side in read.items()}, both)
    sides = []
    for letter, expression in zip(LETTERS, (select_a, select_b), strict=True):
        if not found[letter]:
            raise UsageError(f"-k {both!r} matches no cell of side {letter}")
        records = matching({letter: found[letter]}, expression, option=f"-{letter}")[letter]
        name = f"{read[letter].name} {expression}".strip()
        side = replace(read[letter], name=name, records=tuple(records), selected=bool(expression))
        sides.append(side)
    hashes = {(record.run_id, record.content_hash) for record in sides[1].records}
    same = [run for run in sides[0].records if (run.run_id, run.content_hash) in hashes]
    if same:
        shown = Names(run.cell for run in sides[0].records)
        shared = [shown(run.name, run.cell) for run in same]
        raise UsageError(
            f"{len(shared)} records are on both sides ({_listed(shared)}): a run is not compared "
            "with itself; choose sides that share none, as in -a native -b kornia"
        )
    return sides[0], sides[1]


def _read(root: Path) -> Side:
    """All records; those of reference matrices only where there are no others."""
    found = groups(root)
    stores: dict[str, Store] = {}
    records: list[Record] = []
    for group in [group for group in found if not group.reference] or found:
        store = Store(group.folder)
        read = store.records(_refuse, sanitized=True)
        records += read
        stores |= {record.content_hash: store for record in read}
    if not records:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    return Side(name=str(root), records=tuple(records), stores=stores)


def _refuse(unreadable: str) -> None:
    raise UsageError(f"{unreadable}; compare again to do without it")


def _listed(values: Iterable[str]) -> str:
    unique = sorted(set(values))
    more = f" and {len(unique) - MAX_NAMES} more" if len(unique) > MAX_NAMES else ""
    return ", ".join(unique[:MAX_NAMES]) + more


class Match(NamedTuple):
    """One cell on both sides; their label is its name without what is compared."""

    a: Outcome[Record]
    b: Outcome[Record]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How the cells of two sides correspond."""

    cells: tuple[Match, ...]  # by label
    compared: tuple[str, ...]  # fields of a cell in which the sides have nothing in common
    unmatched: Mapping[str, Sequence[str]]
    """Names of cells "only_a", "only_b", or with "several" possible matches."""


Pair = tuple[list[Key], list[Key]]


def match_sides(a: Side, b: Side) -> Matches:
    """The matched cells; UsageError, which says why, if the sides have none in common."""
    runs_a, runs_b = grouped(a.records), grouped(b.records)
    whole = _labels([*runs_a, *runs_b], ())
    compared, parts = _divide((list(runs_a), list(runs_b)), strict=True)
    axes = [name for name in compared if name in AXES]
    unlike = len(axes) > 1 and not (a.selected and b.selected)  # unless -a and -b ask for it
    pairs: list[Pair] = []
    for part in parts:
        pairs += _divide(part, strict=False)[1] if all(part) else [part]
    matched = [pair for pair in pairs if len(pair[0]) == len(pair[1]) == 1]
    several = [pair for pair in pairs if pair not in matched and all(pair)]
    if several and not (matched or unlike):
        raise UsageError(_too_many(several[0]))
    if unlike or not matched:
        names = [_listed(whole[key] for key in keys) for keys in (runs_a, runs_b)]
        raise UsageError(
            "the sides have no cell in common"
            + (f", they differ in {' and '.join(axes)}" if axes else "")
            + f" (a has {names[0]}; b has {names[1]}): choose the cells of each with -a and -b"
        )
    shown = _labels([key for (key,), _ in matched], compared)
    cells = [
        Match(
            Outcome(key=key_a, runs=tuple(runs_a[key_a]), label=shown[key_a]),
            Outcome(key=key_b, runs=tuple(runs_b[key_b]), label=shown[key_a]),
        )
        for (key_a,), (key_b,) in matched
    ]
    unmatched = {
        "only_a": [key for in_a, in_b in pairs if not in_b for key in in_a],
        "only_b": [key for in_a, in_b in pairs if not in_a for key in in_b],
        "several": [key for in_a, in_b in several for key in (*in_a, *in_b)],
    }
    return Matches(
        cells=tuple(sorted(cells, key=lambda cell: cell.a.label)),
        compared=tuple(compared),
        unmatched={kind: sorted({whole[key] for key in keys}) for kind, keys in unmatched.items()},
    )


def _fields(key: Key) -> dict[str, Hashable]:
    """What identifies a cell; all but `STRICT` may differ between the sides of a matched cell."""
    found: dict[str, Hashable] = {name: getattr(key.cell, name) for name in FIELDS}
    found |= {f"{kind} version": number for kind, number in key.versions}
    found |= {"images": key.fingerprint, "machine": key.machine, "torch": key.torch}
    return found | {"done otherwise": key.differs or "nothing"}


def _divide(pair: Pair, strict: bool) -> tuple[list[str], list[Pair]]:
    """The fields in which the sides have no value in common, and their cells by all others."""
    values = [list(map(_fields, keys)) for keys in pair]
    every = dict.fromkeys(name for side in values for one in side for name in one)
    names = [name for name in every if (name in STRICT) == strict]
    apart = [
        name
        for name in names
        if {one.get(name) for one in values[0]}.isdisjoint({one.get(name) for one in values[1]})
    ]
    found: dict[object, Pair] = defaultdict(lambda: ([], []))
    for side in (0, 1):
        for key, one in zip(pair[side], values[side], strict=True):
            place = tuple(one.get(name) for name in names if name not in apart)
            found[place][side].append(key)
    return apart, list(found.values())


def _labels(keys: Sequence[Key], compared: Collection[str]) -> dict[Key, str]:
    """Names of cells without what is compared; equal names are told apart in brackets."""
    axes = [axis for axis in AXES if axis not in compared] or list(AXES)
    names = {key: "/".join(getattr(key.cell, axis) for axis in axes) for key in keys}
    return labels(names, ignore=compared)


def _too_many(pair: Pair) -> str:
    several = max((0, 1), key=lambda side: len(pair[side]))
    values = [_fields(key) for key in pair[several]]
    name = next(name for name in values[0] if len({value.get(name) for value in values}) > 1)
    return (
        f"side {LETTERS[several]} has {len(values)} cells where the other has "
        f"{len(pair[1 - several])} ({name}: {_listed(str(value.get(name)) for value in values)}): "
        f"choose one of them with -{LETTERS[several]}, or name the folder of one group"
    )


def differences(matches: Matches) -> list[str]:
    """One text for each thing that differs, a before b: "torch: 2.11.0 -> 2.14.1"."""
    changes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for cell in matches.cells:
        a, b = (_facts(side, matches.compared) for side in cell)
        for name in dict.fromkeys([*a, *b]):
            values = a.get(name, "none"), b.get(name, "none")
            if values[0] != values[1]:
                changes[name.replace("_", " ")].append(values)
    number = len(matches.cells)
    return [
        f"{name}: {' -> '.join(map(_listed, zip(*pairs, strict=True)))}"
        + ("" if len(pairs) == number else f" (in {len(pairs)} of {number} cells)")
        for name, pairs in changes.items()
    ]


def _facts(outcome: Outcome[Record], compared: Collection[str]) -> dict[str, str]:
    """What may differ between the sides of a matched cell, as text."""
    parts, cell = outcome.key.parts(), outcome.cell
    facts = {name: parts[name] if FIELDS[name].label else getattr(cell, name) for name in compared}
    environments = [run.environment | {"commit": _commit(run)} for run in outcome.runs]
    for name in dict.fromkeys(name for one in environments for name in one):
        if name not in UNLISTED:
            facts[name] = _listed(str(one.get(name) or "none") for one in environments)
    said = (*STRICT, "recipe", "machine", "torch")  # or by part, as the recipe
    loose = _fields(outcome.key) | {"images": outcome.key.fingerprint[:8]}
    facts |= {name: str(value) for name, value in loose.items() if name not in said}
    return facts | recipe_settings(cell)


def _commit(run: Record) -> str:
    commit = str(run.environment.get("commit") or "")[:7] or "unknown"
    return f"{commit} with changes" if run.environment.get("dirty") else commit


def left_out(matches: Matches) -> Iterator[str]:
    """What is left out, and a warning if one side ran after the other, a sentence each."""
    heads = ("Only on side a", "Only on side b", "Left out because they match more than one cell")
    for head, names in zip(heads, matches.unmatched.values(), strict=True):
        if names:
            yield f"{head}: {count(len(names), 'cell')} ({listed(names)})."
    sides = {name: [match[at] for match in matches.cells] for at, name in enumerate(LETTERS)}
    for letter, outcomes in sides.items():
        for text in (*suspect_times(outcomes), *failed_runs(outcomes)):
            yield f"Side {letter}: {text}"
    for first, then in (LETTERS, LETTERS[::-1]):
        ended = max((run.finished for one in sides[first] for run in one.good), default="")
        began = min((run.started for one in sides[then] for run in one.good), default="")
        if ended and began and ended <= began:
            yield (
                f"All runs of side {first} ended before side {then} began ({ended[:16]}, "
                f"{began[:16]}): if the machine became slower or faster in between, that looks "
                "like a difference; to rule it out, alternate the runs of both sides."
            )
