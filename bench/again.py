"""The command that trains one recorded run again, and nothing else.

It is not guessed: every command that is offered has been planned and gives exactly the cell.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cell import AXES, Cell, plugins_of
from bench.errors import UsageError
from bench.grid import plan as planning
from bench.grid import registry
from bench.grid.config import BUDGETS
from bench.grid.grids import grids
from bench.grid.options import RunOptions
from bench.grid.overrides import OF_CELL, OF_OPTIMIZER, OF_RECIPE, PREFIX
from bench.grid.plugins import as_recorded, joined
from bench.machine.environment import Probe
from bench.record import Record
from bench.retyped import ELSEWHERE, given, given_all, line, narrowed, pinned, placing, typed_words
from bench.selection import only
from pipelines.catalog import Unavailable, UnknownName
from pipelines.sources.errors import SourceError

Read = Callable[[list[str]], RunOptions]


@dataclass(frozen=True, kw_only=True)
class Again:
    """How to train a run again.

    Args:
        options: What `bench run` is to be asked for; None when no command gives the cell.
        note: What to know before, or why there is none; "" for nothing.
    """

    options: RunOptions | None
    command: str = ""
    note: str = ""


def again(record: Record, out: Path, read: Read) -> Again:
    """How to train the run of `record` again.

    Args:
        record: Of any status. What ended well is trained in another results folder, so that its
            record stays what it is.
        out: The results folder that holds it.
        read: What the words after `bench run` ask for.
    """
    wanted = plugins_of(record.versions)
    places = as_recorded(wanted, given_all(typed_words(record.command), "--plugin"))
    if places is None:
        words = narrowed(record, out=out)
        note = f"it needs what is not here as it was then: {', '.join(wanted)}"
        return Again(options=None, command=line(words) if words else "", note=note)
    with joined(places):
        return _planned(record, out, read)


def _planned(record: Record, out: Path, read: Read) -> Again:
    note = _changed_since(record)
    typed = _as_typed(record, out, read)
    if typed is not None:
        words, options = typed
        return Again(options=options, command=line(words), note=note)
    first = given(typed_words(record.command), "--grid") or "default"
    for grid in sorted(grids(), key=lambda name: name != first):
        found = _ways(_common(record, out, grid), record.cell)
        if found:
            shortest = min(found, key=lambda options: len(options.changes))
            words = _spelled(shortest, record, out)
            return Again(options=shortest, command=line(words), note=note)
    return Again(options=None, note="no grid of this version gives a cell like it")


def _as_typed(record: Record, out: Path, read: Read) -> tuple[list[str], RunOptions] | None:
    """The recorded command narrowed to the run, where it gives exactly the cell."""
    words = narrowed(record, out=out)
    if not words:
        return None
    try:
        options = read(words)
        planning.check(options)
        every = [found.name for found in _cells(replace(options, select=""), record.cell)]
        words = narrowed(record, every, out)
        options = read(words)
        if _cells(options, record.cell) == [record.cell.identity]:
            return words, options
    except (
        UsageError,
        UnknownName,
        Unavailable,
        SourceError,
    ):  # typed for another version, or not as it ran
        return None
    return None


def _ways(options: RunOptions, cell: Cell) -> list[RunOptions]:
    """The options of a grid made to give exactly the cell: by its name, or by its entries."""
    found = []
    for named in (True, False):
        try:
            narrowed = _narrowed(options, cell, named=named)
        except (UsageError, UnknownName, Unavailable):
            continue
        if narrowed is not None:
            found.append(narrowed)
        if narrowed is not None and not narrowed.changes:
            break
    return found


def _common(record: Record, out: Path, grid: str) -> RunOptions:
    cell = record.cell
    data_dir = given(typed_words(record.command), "--data-dir")
    usual = BUDGETS[cell.scale].target_accuracy
    return RunOptions(
        grid=grid,
        seed=record.seed,
        source=cell.source,
        data_dir=Path(data_dir) if data_dir else None,
        device=cell.device,
        scale=cell.scale,
        target=None if cell.target_accuracy == usual else cell.target_accuracy,
        precision=cell.precision,
        compile=cell.compile,
        out=ELSEWHERE if record.status == "ok" else out,
        retry_failed=record.status != "ok",
        plugins=given_all(typed_words(record.command), "--plugin"),
    )


def _narrowed(options: RunOptions, cell: Cell, *, named: bool) -> RunOptions | None:
    """The options made to give the cell alone; None where its grid cannot.

    Args:
        options: Of a whole grid.
        cell: What is wanted.
        named: Whether to choose it by name from the grid, or to put its entries into all cells.
    """
    if named:
        options = replace(
            options, select=only(cell.name, [found.name for found in _cells(options, cell)])
        )
    else:
        options = replace(options, **{axis: getattr(cell, axis) for axis in AXES})
    if any(found.epochs != cell.epochs for found in _cells(options, cell)):
        options = replace(options, epochs=cell.epochs)
    near = _cells(options, cell)
    if len(near) != 1:
        return None
    options = replace(options, changes=_changes(near[0], cell))
    return options if _cells(options, cell) == [cell.identity] else None


def _cells(options: RunOptions, cell: Cell) -> list[Cell]:
    setting = planning.choose_setting(options, Probe(), cell.device)
    return [found.identity for found in planning.choose_cells(options, setting)]


def _changes(have: Cell, want: Cell) -> tuple[str, ...]:
    """KEY=VALUE texts for --set."""
    changes = [
        f"{key}={getattr(want, key)!r}"
        for key in OF_CELL
        if getattr(have, key) != getattr(want, key)
    ]
    if have.recipe is None or want.recipe is None:
        return tuple(changes)
    every = bool(changes)  # another batch size may scale the recipe anew: say all of it
    for key in (*OF_OPTIMIZER, *OF_RECIPE):
        old, new = getattr(have.recipe, key), getattr(want.recipe, key)
        if every or old != new:
            changes.append(f"{PREFIX if key in OF_OPTIMIZER else ''}{key}={new}")
    old_options = dict(have.recipe.options)
    for key, value in want.recipe.options:
        if every or old_options.get(key) != value:
            changes.append(f"{PREFIX}{key}={value}")
    return tuple(changes)


def _changed_since(record: Record) -> str:
    """Entries whose version is another by now, so that the run would be another too."""
    try:
        now = registry.versions(record.cell)
    except UnknownName:  # of an entry that is gone: no grid will give its cell
        return ""
    changed = [
        f"{kind} v{number}, now v{now[kind]}"
        for kind, number in record.versions.items()
        if kind in now and now[kind] != number
    ]
    if not changed:
        return ""
    return f"it will be another run, filed beside this one: {', '.join(changed)}"


def _spelled(options: RunOptions, record: Record, out: Path) -> list[str]:
    """The words after `bench run` that stand for the options."""
    plain: dict[str, Any] = {
        "--grid": options.grid,
        "-k": options.select or None,
        **{f"--{axis}": getattr(options, axis) for axis in AXES},
        "--seed": options.seed,
        "--data-dir": options.data_dir,
        "--epochs": options.epochs,
        "--target": options.target,
    }
    words = [word for key, said in plain.items() if said is not None for word in (key, str(said))]
    words += [word for said in options.plugins for word in ("--plugin", said)]
    words += [word for change in options.changes for word in ("--set", change)]
    return words + pinned(record.cell) + placing(record, out)
