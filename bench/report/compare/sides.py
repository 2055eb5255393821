"""The two sides of a comparison: their records, which of their cells match, and what differs.

A side is a results folder, one group in it, or a -k selection of either. A field of a cell in which
the sides have no value in common is what is compared, so cells match without it. The same holds,
cell by cell, for recipe, batch size, versions, images, machine and torch. Commit and other software
are never matched; differences in them are listed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell import AXES, FIELDS, fields_of
from bench.errors import UsageError
from bench.record import Record
from bench.report.rows import Key, Outcome, distinctions, grouped, settings
from bench.selection import matching
from bench.store.groups import groups
from bench.store.store import Store
from bench.text import count, listed, sanitize

LETTERS = ("a", "b")
LOOSE = fields_of("recipe")  # fields of a cell that follow from its net and optimizer
STRICT = tuple(name for name in FIELDS if name not in LOOSE)
MAX_NAMES = 4  # that a message lists
ENVIRONMENT = {
    "gpu": "GPU", "driver": "driver", "cpu": "CPU", "cores": "cores", "threads": "threads",
    "os": "system", "python": "Python", "torch": "torch", "cuda": "CUDA", "cudnn": "cuDNN",
    "torchvision": "torchvision", "kornia": "kornia", "dali": "DALI", "timm": "timm",
    "pipeline_bench": "pipeline-bench",
}  # fmt: skip


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
    """Both sides with their records, from results folders and -k expressions.

    Args:
        a: Folder of the baseline.
        b: Folder of the side that is judged; None for that of `a`.
        both: Selects cells of both sides; `select_a` and `select_b` of one.

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
    every = dict(zip(LETTERS, map(_read, folders), strict=True))
    found = matching(every, both)
    first = _side("a", folders[0], found["a"], select_a, both)
    second = _side("b", folders[1], found["b"], select_b, both)
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


def _side(letter: str, folder: Path, records: list[Record], expression: str, both: str) -> Side:
    if not records:
        raise UsageError(f"-k {both!r} matches no cell of side {letter}")
    records = matching({letter: records}, expression, option=f"-{letter}")[letter]
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
        raise UsageError(
            f"{len(shared)} records are on both sides ({_listed(run.name for run in shared)}): a "
            "run is not compared with itself; choose sides that share none, as in "
            "-a native -b kornia"
        )


def _listed(values: Iterable[str]) -> str:
    unique = sorted(set(values))
    more = f" and {len(unique) - MAX_NAMES} more" if len(unique) > MAX_NAMES else ""
    return ", ".join(unique[:MAX_NAMES]) + more


@dataclass(frozen=True, kw_only=True)
class Match:
    """One cell on both sides."""

    label: str  # its name without what is compared
    a: Outcome[Record]
    b: Outcome[Record]


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How the cells of two sides correspond."""

    cells: tuple[Match, ...]  # by label
    compared: tuple[str, ...]  # fields of a cell in which the sides have nothing in common
    only_a: tuple[str, ...] = ()  # labels of cells that side b lacks
    only_b: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()  # labels of cells with more than one possible match: left out


Pair = tuple[list[Key], list[Key]]


def match_sides(a: Side, b: Side) -> Matches:
    """The matched cells.

    Raises:
        UsageError: The sides have no cell in common; the message says why.
    """
    runs_a, runs_b = grouped(a.records), grouped(b.records)
    compared, parts = _divide((list(runs_a), list(runs_b)), _strict_fields)
    axes = [name for name in compared if name in AXES]
    if len(axes) > 1 and not (a.selected and b.selected):
        raise UsageError(_differ_in(axes, runs_a, runs_b))
    pairs: list[Pair] = []
    for part in parts:
        pairs += _divide(part, loose_fields)[1] if all(part) else [part]
    matched = [pair for pair in pairs if len(pair[0]) == len(pair[1]) == 1]
    ambiguous = [pair for pair in pairs if pair not in matched and pair[0] and pair[1]]
    if not matched:
        raise UsageError(_no_match(ambiguous, runs_a, runs_b))
    names = labels([pair[0][0] for pair in matched], compared)
    cells = [
        Match(
            label=names[key_a],
            a=Outcome(key=key_a, runs=_by_seed(runs_a[key_a]), label=names[key_a]),
            b=Outcome(key=key_b, runs=_by_seed(runs_b[key_b]), label=names[key_a]),
        )
        for (key_a,), (key_b,) in matched
    ]
    everything = labels([*runs_a, *runs_b], ())
    return Matches(
        cells=tuple(sorted(cells, key=lambda cell: cell.label)),
        compared=tuple(compared),
        only_a=tuple(sorted(everything[key] for pair in pairs if not pair[1] for key in pair[0])),
        only_b=tuple(sorted(everything[key] for pair in pairs if not pair[0] for key in pair[1])),
        ambiguous=tuple(
            sorted({everything[key] for pair in ambiguous for side in pair for key in side})
        ),
    )


def _by_seed(runs: Sequence[Record]) -> tuple[Record, ...]:
    return tuple(sorted(runs, key=lambda run: run.seed))


def _strict_fields(key: Key) -> dict[str, Hashable]:
    return {name: getattr(key.cell, name) for name in STRICT}


def loose_fields(key: Key) -> dict[str, Hashable]:
    """Fields that may differ between the sides of a matched cell."""
    found: dict[str, Hashable] = {name: getattr(key.cell, name) for name in LOOSE}
    found |= {f"{kind} version": number for kind, number in key.versions}
    return found | {"images": key.fingerprint, "machine": key.machine, "torch": key.torch}


def _divide(
    pair: Pair, fields: Callable[[Key], Mapping[str, Hashable]]
) -> tuple[list[str], list[Pair]]:
    """The fields in which the sides have no value in common, and their cells by all others."""
    values = [[fields(key) for key in keys] for keys in pair]
    names = dict.fromkeys(name for side in values for one in side for name in one)
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


def labels(keys: Sequence[Key], compared: Collection[str]) -> dict[Key, str]:
    """Names of cells without what is compared; equal names are told apart in brackets."""
    axes = [axis for axis in AXES if axis not in compared] or list(AXES)
    by_name: dict[str, list[Key]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        by_name["/".join(getattr(key.cell, axis) for axis in axes)].append(key)
    found: dict[Key, str] = {}
    for name, group in by_name.items():
        for key, apart in distinctions(group, ignore=compared).items():
            label = f"{name} ({apart})" if apart else name
            same = sum(one == label or one.startswith(f"{label} #") for one in found.values())
            found[key] = f"{label} #{same + 1}" if same else label
    return found


def field_text(key: Key, name: str) -> str:
    """The value of a cell's field, as shown."""
    return key.parts()[name] if FIELDS[name].label else str(getattr(key.cell, name))


def _differ_in(axes: Sequence[str], a: Iterable[Key], b: Iterable[Key]) -> str:
    values = "; ".join(
        f"{axis}: {_listed(field_text(key, axis) for key in a)} against "
        f"{_listed(field_text(key, axis) for key in b)}"
        for axis in axes
    )
    return (
        f"the sides have no cell in common, they differ in {' and '.join(axes)} ({values}): if you "
        "want to compare these, choose the cells of each side with -a and -b"
    )


def _no_match(ambiguous: Sequence[Pair], a: Iterable[Key], b: Iterable[Key]) -> str:
    if not ambiguous:
        names = [_listed(key.cell.name for key in keys) for keys in (a, b)]
        return (
            f"the sides have no cell in common: a has {names[0]}, b has {names[1]}; `bench table` "
            "shows what each has"
        )
    several, other = sorted(zip(LETTERS, ambiguous[0], strict=True), key=lambda one: -len(one[1]))
    letter, keys = several
    values = [{**_strict_fields(key), **loose_fields(key)} for key in keys]
    name = next(name for name in values[0] if len({value.get(name) for value in values}) > 1)
    return (
        f"side {letter} has {len(keys)} cells where the other has {len(other[1])} "
        f"({name}: {_listed(str(value.get(name)) for value in values)}): choose one of them with "
        f"-{letter}, or name the folder of one group"
    )


def differences(matches: Matches) -> list[str]:
    """One text for each thing that differs, a before b: "torch: 2.11.0 -> 2.14.1"."""
    changes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for cell in matches.cells:
        a, b = (_facts(side, matches.compared) for side in (cell.a, cell.b))
        for name in dict.fromkeys([*a, *b]):
            values = a.get(name, "none"), b.get(name, "none")
            if values[0] != values[1]:
                changes[name].append(values)
    number = len(matches.cells)
    return [
        f"{name}: {' -> '.join(map(_joined, zip(*pairs, strict=True)))}"
        + ("" if len(pairs) == number else f" (in {len(pairs)} of {number} cells)")
        for name, pairs in changes.items()
    ]


def _facts(outcome: Outcome[Record], compared: Collection[str]) -> dict[str, str]:
    """What may differ between the sides, as shown."""
    facts = {name: field_text(outcome.key, name) for name in compared}
    for name, title in ENVIRONMENT.items():
        values = [run.environment[name] for run in outcome.runs if name in run.environment]
        if values:
            facts[title] = _joined("none" if value is None else str(value) for value in values)
    facts["commit"] = _joined(map(_commit, outcome.runs))
    loose = loose_fields(outcome.key)
    for name in ("recipe", "machine", "torch"):  # the recipe follows by part, the rest is above
        del loose[name]
    loose["images"] = outcome.key.fingerprint[:8]
    facts |= {name: str(value) for name, value in loose.items()} | settings(outcome.cell)
    return {name.replace("_", " "): text for name, text in facts.items()}


def _joined(values: Iterable[str]) -> str:
    unique = sorted(set(values))
    return " and ".join(unique) if len(unique) < MAX_NAMES else _listed(unique)


def _commit(run: Record) -> str:
    commit = str(run.environment.get("commit") or "")[:7] or "unknown"
    return f"{commit} with changes" if run.environment.get("dirty") else commit


def left_out(matches: Matches) -> Iterator[str]:
    """Cells and runs that the comparison leaves out, a sentence each."""
    for letter, names in (("a", matches.only_a), ("b", matches.only_b)):
        if names:
            yield f"Only on side {letter}: {count(len(names), 'cell')} ({listed(names)})."
    if matches.ambiguous:
        yield (
            f"Left out because they match more than one cell: "
            f"{count(len(matches.ambiguous), 'cell')} ({listed(matches.ambiguous)})."
        )
    for letter in LETTERS:
        outcomes = [getattr(cell, letter) for cell in matches.cells]
        yield from _runs_left_out(letter, outcomes)


def _runs_left_out(letter: str, outcomes: Sequence[Outcome[Record]]) -> Iterator[str]:
    suspect = [run for one in outcomes for run in one.good if not run.times_trusted]
    if suspect:
        good = sum(len(one.good) for one in outcomes)
        kinds: dict[str, list[str]] = {}
        for reason in (reason for run in suspect for reason in run.timing_suspect):
            kinds.setdefault(re.sub(r"[\d.,]+", "", reason), []).append(reason)
        most = max(kinds.values(), key=len)[0]
        more = " and others" if len(kinds) > 1 else ""
        yield (
            f"Suspect timings on side {letter}, excluded from speeds and times but not from "
            f"scores: {len(suspect)} of {count(good, 'run')} (for example: {most}{more})."
        )
    failed = Counter(run.status for one in outcomes for run in one.runs if run not in one.good)
    if failed:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(failed.items()))
        yield f"Failed runs on side {letter}, which have no results: {counts}."


def separate_in_time(cells: Sequence[Match]) -> str:
    """A warning if all runs of one side ended before those of the other began, else ""."""
    a, b = ([run for cell in cells for run in getattr(cell, letter).good] for letter in LETTERS)
    if not (a and b):
        return ""
    for first, then, names in ((a, b, "ab"), (b, a, "ba")):
        ended, began = max(run.finished for run in first), min(run.started for run in then)
        if ended <= began:
            return (
                f"All runs of side {names[0]} ended before side {names[1]} began ({ended[:16]}, "
                f"{began[:16]}): if the machine became slower or faster in between, that looks "
                "like a difference; to rule it out, alternate the runs of both sides."
            )
    return ""
