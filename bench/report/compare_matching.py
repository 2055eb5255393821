"""Cells of two sides that agree in everything but what is compared.

A field of a cell in which the sides have no value in common is what is compared: it is left out of
the match. So are, cell by cell, recipe, batch size, versions, images, machine and torch where the
sides have none in common. Commit and other software never take part; they are told.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from bench.cell import AXES, Cell
from bench.errors import UsageError
from bench.record import Record
from bench.report.compare_sides import Side
from bench.report.outcomes import Outcome
from bench.report.rows import BUDGET, Key, grouped
from bench.report.settings import differing_settings

SOFT = ("recipe", "batch_size")  # fields of a cell that follow from its net and optimizer
HARD = tuple(field.name for field in fields(Cell) if field.name not in SOFT)
MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class Match:
    """One cell on both sides.

    Args:
        label: Its name without what is compared.
        a: What side a gave.
        b: What side b gave.
    """

    label: str
    a: Outcome
    b: Outcome


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How the cells of two sides belong together.

    Args:
        cells: The matched ones, by label.
        compared: Fields of a cell in which the sides have nothing in common.
        only_a: Labels of cells that side b lacks.
        only_b: Labels of cells that side a lacks.
        several: Labels of cells that could be matched in more than one way, which are left out.
    """

    cells: tuple[Match, ...]
    compared: tuple[str, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    several: tuple[str, ...] = ()


Pair = tuple[list[Key], list[Key]]


def match_sides(a: Side, b: Side) -> Matches:
    """The matched cells.

    Raises:
        UsageError: The sides have no cell in common; the message says why.
    """
    runs_a, runs_b = grouped(a.records), grouped(b.records)
    compared = _disjoint(HARD, [_hard(key) for key in runs_a], [_hard(key) for key in runs_b])
    axes = [name for name in compared if name in AXES]
    if len(axes) > 1 and not (a.chosen and b.chosen):
        raise UsageError(_differ_in(axes, list(runs_a), list(runs_b)))
    pairs: list[Pair] = []
    for together in _grouped(list(runs_a), list(runs_b), compared).values():
        pairs += _by_soft(together)
    matched = [pair for pair in pairs if len(pair[0]) == len(pair[1]) == 1]
    several = [pair for pair in pairs if pair not in matched and pair[0] and pair[1]]
    if not matched:
        raise UsageError(_nothing(several, list(runs_a), list(runs_b)))
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
        several=tuple(
            sorted({everything[key] for pair in several for side in pair for key in side})
        ),
    )


def _by_seed(runs: Sequence[Record]) -> tuple[Record, ...]:
    return tuple(sorted(runs, key=lambda run: run.seed))


def _hard(key: Key) -> dict[str, Hashable]:
    return {name: getattr(key.cell, name) for name in HARD}


def soft(key: Key) -> dict[str, Hashable]:
    """What may differ between the sides of one matched cell."""
    found: dict[str, Hashable] = {name: getattr(key.cell, name) for name in SOFT}
    found |= {f"{kind} version": number for kind, number in key.versions}
    return found | {"images": key.fingerprint, "machine": key.machine, "torch": key.torch}


def _disjoint(
    names: Collection[str],
    a: Sequence[Mapping[str, Hashable]],
    b: Sequence[Mapping[str, Hashable]],
) -> list[str]:
    """The names whose values on one side are none of the other side's."""
    return [
        name
        for name in names
        if {one.get(name) for one in a}.isdisjoint({one.get(name) for one in b})
    ]


def _grouped(a: Sequence[Key], b: Sequence[Key], compared: Collection[str]) -> dict[object, Pair]:
    found: dict[object, Pair] = defaultdict(lambda: ([], []))
    for place, keys in enumerate((a, b)):
        for key in keys:
            rest = tuple(value for name, value in _hard(key).items() if name not in compared)
            found[rest][place].append(key)
    return found


def _by_soft(pair: Pair) -> list[Pair]:
    """Cells of one name and budget, told apart by what both sides have in common."""
    if not (pair[0] and pair[1]):
        return [pair]
    a, b = ([soft(key) for key in side] for side in pair)
    names = sorted({name for one in (*a, *b) for name in one})
    kept = [name for name in names if name not in _disjoint(names, a, b)]
    found: dict[object, Pair] = defaultdict(lambda: ([], []))
    for place, keys in enumerate(pair):
        for key in keys:
            values = soft(key)
            found[tuple(values.get(name) for name in kept)][place].append(key)
    return list(found.values())


def labels(keys: Sequence[Key], compared: Collection[str]) -> dict[Key, str]:
    """Names of cells without what is compared; those of equal names say what sets them apart."""
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


def told(key: Key, name: str) -> str:
    """The value of a field of a cell, as people read it."""
    return key.parts()[name] if name in BUDGET else str(getattr(key.cell, name))


def _differ_in(axes: Sequence[str], a: Sequence[Key], b: Sequence[Key]) -> str:
    said = "; ".join(
        f"{axis}: {_listed(told(key, axis) for key in a)} against "
        f"{_listed(told(key, axis) for key in b)}"
        for axis in axes
    )
    return (
        f"the sides have no cell in common, they differ in {' and '.join(axes)} ({said}): choose "
        "the cells of both with -a and -b if that is what you want to compare"
    )


def _nothing(several: Sequence[Pair], a: Sequence[Key], b: Sequence[Key]) -> str:
    if not several:
        names = _listed(key.cell.name for key in a), _listed(key.cell.name for key in b)
        return (
            f"the sides have no cell in common: a has {names[0]}, b has {names[1]}; `bench table` "
            "shows what each has"
        )
    one = several[0]
    sides = [(letter, keys) for letter, keys in zip("ab", one, strict=True) if len(keys) > 1]
    letter, keys = sides[0]
    values = [{**_hard(key), **soft(key)} for key in keys]
    names_of = [name for name in values[0] if len({value.get(name) for value in values}) > 1]
    shown = f"{names_of[0]}: {_listed(str(value.get(names_of[0])) for value in values)}"
    return (
        f"side {letter} has {len(keys)} cells where the other has {len(one['ba'.index(letter)])} "
        f"({shown}): name one of them with -{letter}, or with a condition such as @machine="
    )


def _listed(values: Iterable[str]) -> str:
    found = sorted(set(values))
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return ", ".join(found[:MOST_NAMES]) + more


__all__ = ["Match", "Matches", "labels", "match_sides", "soft", "told"]
