"""Which cells of two sides match, what the sides differ in, and what the comparison leaves out.

A field of a cell in which the sides have no value in common is what is compared, so cells match
without it. The same holds, cell by cell, for recipe, batch size, versions, images, machine and
torch. Commit and other software are never matched; differences in them are listed.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cell import AXES, FIELDS, fields_of
from bench.errors import UsageError
from bench.record import Record
from bench.report.compare.sides import Side
from bench.report.rows import Key, differing_settings, grouped, settings
from bench.report.sentences import listed
from bench.report.statistics.intervals import Contrast, welch
from bench.report.statistics.outcomes import Outcome
from bench.text import count

SOFT = fields_of("recipe")  # fields of a cell that follow from its net and optimizer
HARD = tuple(name for name in FIELDS if name not in SOFT)
MAX_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class Match:
    """One cell on both sides."""

    label: str  # its name without what is compared
    a: Outcome
    b: Outcome


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
    compared = _disjoint(
        HARD, [_strict_fields(key) for key in runs_a], [_strict_fields(key) for key in runs_b]
    )
    axes = [name for name in compared if name in AXES]
    if len(axes) > 1 and not (a.selected and b.selected):
        raise UsageError(_differ_in(axes, list(runs_a), list(runs_b)))
    pairs: list[Pair] = []
    for together in _grouped(list(runs_a), list(runs_b), compared).values():
        pairs += _pair_loosely(together)
    matched = [pair for pair in pairs if len(pair[0]) == len(pair[1]) == 1]
    ambiguous = [pair for pair in pairs if pair not in matched and pair[0] and pair[1]]
    if not matched:
        raise UsageError(_nothing(ambiguous, list(runs_a), list(runs_b)))
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
    return {name: getattr(key.cell, name) for name in HARD}


def loose_fields(key: Key) -> dict[str, Hashable]:
    """Fields that may differ between the sides of a matched cell."""
    found: dict[str, Hashable] = {name: getattr(key.cell, name) for name in SOFT}
    found |= {f"{kind} version": number for kind, number in key.versions}
    return found | {"images": key.fingerprint, "machine": key.machine, "torch": key.torch}


def _disjoint(
    names: Collection[str],
    a: Sequence[Mapping[str, Hashable]],
    b: Sequence[Mapping[str, Hashable]],
) -> list[str]:
    """The names whose values on one side never occur on the other."""
    return [
        name
        for name in names
        if {one.get(name) for one in a}.isdisjoint({one.get(name) for one in b})
    ]


def _grouped(a: Sequence[Key], b: Sequence[Key], compared: Collection[str]) -> dict[object, Pair]:
    found: dict[object, Pair] = defaultdict(lambda: ([], []))
    for place, keys in enumerate((a, b)):
        for key in keys:
            rest = tuple(
                value for name, value in _strict_fields(key).items() if name not in compared
            )
            found[rest][place].append(key)
    return found


def _pair_loosely(pair: Pair) -> list[Pair]:
    """Pairs up cells of one name and budget by the loose fields that both sides share."""
    if not (pair[0] and pair[1]):
        return [pair]
    a, b = ([loose_fields(key) for key in side] for side in pair)
    names = sorted({name for one in (*a, *b) for name in one})
    kept = [name for name in names if name not in _disjoint(names, a, b)]
    found: dict[object, Pair] = defaultdict(lambda: ([], []))
    for place, keys in enumerate(pair):
        for key in keys:
            values = loose_fields(key)
            found[tuple(values.get(name) for name in kept)][place].append(key)
    return list(found.values())


def labels(keys: Sequence[Key], compared: Collection[str]) -> dict[Key, str]:
    """Names of cells without what is compared; equal names are told apart in brackets."""
    axes = [axis for axis in AXES if axis not in compared] or list(AXES)
    same: dict[str, list[Key]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        same["/".join(getattr(key.cell, axis) for axis in axes)].append(key)
    found: dict[Key, str] = {}
    for name, group in same.items():
        recipes = differing_settings([key.cell for key in group])
        parts = {key: key.parts() for key in group}
        for key in group:
            apart = [
                said
                for part, said in parts[key].items()
                if part not in compared and any(one.get(part) != said for one in parts.values())
            ]
            apart = list(filter(None, [*apart, *recipes[key.cell]]))
            said = name + (f" ({', '.join(apart)})" if apart else "")
            again = sum(one == said or one.startswith(f"{said} #") for one in found.values())
            found[key] = f"{said} #{again + 1}" if again else said
    return found


def field_text(key: Key, name: str) -> str:
    """The value of a cell's field, as shown."""
    return key.parts()[name] if FIELDS[name].label else str(getattr(key.cell, name))


def _differ_in(axes: Sequence[str], a: Sequence[Key], b: Sequence[Key]) -> str:
    said = "; ".join(
        f"{axis}: {_listed(field_text(key, axis) for key in a)} against "
        f"{_listed(field_text(key, axis) for key in b)}"
        for axis in axes
    )
    return (
        f"the sides have no cell in common, they differ in {' and '.join(axes)} ({said}): if you "
        "want to compare these, choose the cells of each side with -a and -b"
    )


def _nothing(ambiguous: Sequence[Pair], a: Sequence[Key], b: Sequence[Key]) -> str:
    if not ambiguous:
        names = _listed(key.cell.name for key in a), _listed(key.cell.name for key in b)
        return (
            f"the sides have no cell in common: a has {names[0]}, b has {names[1]}; `bench table` "
            "shows what each has"
        )
    one = ambiguous[0]
    sides = [(letter, keys) for letter, keys in zip("ab", one, strict=True) if len(keys) > 1]
    letter, keys = sides[0]
    values = [{**_strict_fields(key), **loose_fields(key)} for key in keys]
    names_of = [name for name in values[0] if len({value.get(name) for value in values}) > 1]
    shown = f"{names_of[0]}: {_listed(str(value.get(names_of[0])) for value in values)}"
    return (
        f"side {letter} has {len(keys)} cells where the other has {len(one['ba'.index(letter)])} "
        f"({shown}): choose one of them with -{letter}, or name the folder of one group"
    )


def _listed(values: Iterable[str]) -> str:
    found = sorted(set(values))
    more = f" and {len(found) - MAX_NAMES} more" if len(found) > MAX_NAMES else ""
    return ", ".join(found[:MAX_NAMES]) + more


ENVIRONMENT = {
    "gpu": "GPU", "driver": "driver", "cpu": "CPU", "cores": "cores", "threads": "threads",
    "os": "system", "python": "Python", "torch": "torch", "cuda": "CUDA", "cudnn": "cuDNN",
    "torchvision": "torchvision", "kornia": "kornia", "dali": "DALI", "timm": "timm",
    "pipeline_bench": "pipeline-bench",
}  # fmt: skip
MOST_VALUES = 3


def differences(matches: Matches) -> list[str]:
    """ "torch: 2.11.0 -> 2.14.1", one for each thing that differs, a before b."""
    cells = matches.cells
    found = [
        _change(
            name.replace("_", " "),
            [field_text(cell.a.key, name) for cell in cells],
            [field_text(cell.b.key, name) for cell in cells],
        )
        for name in matches.compared
    ]
    a, b = ([run for one in side for run in one.runs] for side in _sides(cells))
    found += [
        _change(said, _known(a, name), _known(b, name))
        for name, said in ENVIRONMENT.items()
        if set(_known(a, name)) != set(_known(b, name))
    ]
    commits = [[_commit(run.environment) for run in runs] for runs in (a, b)]
    if set(commits[0]) != set(commits[1]):
        found.append(_change("commit", *commits))
    return found + list(_settings(cells))


def _sides(cells: Sequence[Match]) -> tuple[list[Outcome], list[Outcome]]:
    return [cell.a for cell in cells], [cell.b for cell in cells]


def _change(name: str, a: Sequence[str], b: Sequence[str]) -> str:
    return f"{name}: {_values(a)} -> {_values(b)}"


def _values(values: Sequence[str]) -> str:
    found = sorted(set(values))
    if len(found) <= MOST_VALUES:
        return " and ".join(found)
    return f"{', '.join(found[:MOST_VALUES])} and {len(found) - MOST_VALUES} more"


def _known(runs: Sequence[Record], name: str) -> list[str]:
    """Values of the environment, of the runs that recorded it."""
    return [
        "none" if run.environment[name] is None else str(run.environment[name])
        for run in runs
        if name in run.environment
    ]


def _commit(environment: dict[str, Any]) -> str:
    commit = str(environment.get("commit") or "")[:7] or "unknown"
    return f"{commit} with changes" if environment.get("dirty") else commit


def _settings(cells: Sequence[Match]) -> Iterator[str]:
    """Recipes, batch sizes, versions and images that differ within matched cells."""
    changes: dict[str, list[tuple[str, str]]] = {}
    for cell in cells:
        a, b = (_loose_texts(side) for side in (cell.a, cell.b))
        for name in dict.fromkeys([*a, *b]):
            if a.get(name) != b.get(name):
                pair = (a.get(name, "none"), b.get(name, "none"))
                changes.setdefault(name, []).append(pair)
    for name, pairs in changes.items():
        where = "" if len(pairs) == len(cells) else f" (in {len(pairs)} of {len(cells)} cells)"
        ways = set(pairs)
        said = _change(name, *zip(*ways, strict=True)) if len(ways) == 1 else name
        yield said + where


def _loose_texts(outcome: Outcome) -> dict[str, str]:
    values = loose_fields(outcome.key)
    for name in ("recipe", "machine", "torch"):  # the recipe is listed by part, the rest above
        values.pop(name)
    said = {name.replace("_", " "): str(value) for name, value in values.items()}
    said["images"] = said["images"][:8]
    return said | settings(outcome.cell)


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
    for letter, outcomes in zip("ab", _sides(matches.cells), strict=True):
        yield from _runs_left_out(letter, outcomes)


def _runs_left_out(letter: str, outcomes: Sequence[Outcome]) -> Iterator[str]:
    suspect = [run for one in outcomes for run in one.good if run.timing_suspect]
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
        said = ", ".join(f"{number} {status}" for status, number in sorted(failed.items()))
        yield f"Failed runs on side {letter}, which have no results: {said}."


def separate_in_time(cells: Sequence[Match]) -> str:
    """A warning if all runs of one side ended before those of the other began, else ""."""
    a, b = ([run for one in side for run in one.good] for side in _sides(cells))
    if not (a and b):
        return ""
    for first, then, names in ((a, b, ("a", "b")), (b, a, ("b", "a"))):
        ended, began = max(run.finished for run in first), min(run.started for run in then)
        if ended <= began:
            return (
                f"All runs of side {names[0]} ended before side {names[1]} began ({ended[:16]}, "
                f"{began[:16]}): if the machine became slower or faster in between, that looks "
                "like a difference; to rule it out, alternate the runs of both sides."
            )
    return ""


def ceiling_note(moved: Sequence[tuple[Match, int]]) -> str:
    """A note if the ceiling (the same net fed one cached batch) changed as images/s did, else "".

    Args:
        moved: Cells that became faster (1) or slower (-1).
    """
    number = sum(_ceiling_side(match) == side for match, side in moved)
    if not number:
        return ""
    return (
        f"In {number} of {count(len(moved), 'cell')} that became faster or slower, the ceiling "
        "(the same net without waiting for data) changed the same way: the cause is the net, the "
        "software or the machine, not the pipeline alone."
    )


def _ceiling_side(match: Match) -> int:
    level, reference = (
        tuple(
            math.log(run.throughput.ceiling)
            for run in side.trusted
            if run.throughput and run.throughput.ceiling
        )
        for side in (match.b, match.a)
    )
    interval = welch([Contrast(level=level, reference=reference)])
    return interval.side() if interval else 0
