"""The command that trains one recorded run again, and nothing else.

It is not guessed: every command that is offered has been planned and gives exactly the cell.
"""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import plan as planning
from bench import registry
from bench.cell import AXES, Cell
from bench.changes import OF_CELL, OF_OPTIMIZER, OF_RECIPE, PREFIX
from bench.environment import Probe
from bench.errors import UsageError
from bench.grid import GRIDS
from bench.plan import RERUN, Options
from bench.record import Record
from bench.selection import only
from bench.setting import BUDGETS
from pipelines.catalog import Unavailable, UnknownName

ELSEWHERE = Path("again")  # a run that is done is trained again in a results folder of its own


@dataclass(frozen=True, kw_only=True)
class Again:
    """How to train a run again.

    Args:
        options: What `bench run` is to be asked for; None when no command gives the cell.
        note: What to know before, or why there is none; "" for nothing.
    """

    options: Options | None
    note: str = ""

    @property
    def command(self) -> str:
        """The command line; "" when there is none."""
        return "" if self.options is None else shlex.join(["bench", "run", *_spelled(self.options)])


def again(record: Record, out: Path) -> Again:
    """How to train the run of `record` again.

    Args:
        record: Of any status. What ended well is trained in another results folder, so that its
            record stays what it is.
        out: The results folder that holds it.
    """
    came_from = re.search(r"--grid[ =](\S+)", record.command)
    first = came_from[1] if came_from else "default"
    for grid in sorted(GRIDS, key=lambda name: name != first):
        found = _ways(_common(record, out, grid), record.cell)
        if found:
            shortest = min(found, key=lambda options: len(options.changes))
            return Again(options=shortest, note=_changed_since(record))
    return Again(options=None, note="no grid of this version gives a cell like it")


def _ways(options: Options, cell: Cell) -> list[Options]:
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


def _common(record: Record, out: Path, grid: str) -> Options:
    cell = record.cell
    data_dir = re.search(r"--data-dir[ =](\S+)", record.command)
    usual = BUDGETS[cell.scale].target_accuracy
    return Options(
        grid=grid,
        seed=record.seed,
        source=cell.source,
        data_dir=Path(data_dir[1]) if data_dir else None,
        device=cell.device,
        scale=cell.scale,
        target=None if cell.target_accuracy == usual else cell.target_accuracy,
        precision=cell.precision,
        compile=cell.compile,
        out=ELSEWHERE if record.status == "ok" else out,
        retry_failed=record.status not in ("ok", *RERUN),
    )


def _narrowed(options: Options, cell: Cell, *, named: bool) -> Options | None:
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


def _cells(options: Options, cell: Cell) -> list[Cell]:
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
    now = registry.versions(record.cell)
    changed = [
        f"{kind} v{number}, now v{now[kind]}"
        for kind, number in record.versions.items()
        if kind in now and now[kind] != number
    ]
    if not changed:
        return ""
    return f"it will be another run, filed beside this one: {', '.join(changed)}"


def _spelled(options: Options) -> list[str]:
    """The command line arguments that stand for the options."""
    plain: dict[str, Any] = {
        "--grid": options.grid,
        "-k": options.select or None,
        **{f"--{axis}": getattr(options, axis) for axis in AXES},
        "--seed": options.seed,
        "--source": options.source,
        "--data-dir": options.data_dir,
        "--device": options.device,
        "--scale": options.scale,
        "--epochs": options.epochs,
        "--target": options.target,
        "--precision": options.precision,
        "--out": options.out,
    }
    words = [
        word for key, value in plain.items() if value is not None for word in (key, str(value))
    ]
    words += [word for change in options.changes for word in ("--set", change)]
    words.append("--compile" if options.compile else "--no-compile")
    return words + (["--retry-failed"] if options.retry_failed else [])


__all__ = ["Again", "again"]
