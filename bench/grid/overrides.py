"""`--set KEY=VALUE`: settings of the cells that were chosen, changed by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import optimizers
from bench.cell import Cell
from bench.errors import UsageError
from bench.grid.recipe_files import untuned
from bench.recipe import DEFAULT_ORIGIN, Recipe, with_options
from pipelines.catalog import Unavailable, unknown_name

PREFIX = "optimizer."
OF_CELL: Mapping[str, type] = {"batch_size": int, "width": float, "eval_views": int}
OF_OPTIMIZER = ("lr", "weight_decay")
OF_RECIPE: Mapping[str, type] = {
    "schedule": str,
    "warmup": float,
    "start_factor": float,
    "end_factor": float,
    "label_smoothing": float,
    "average": str,
    "average_decay": float,
}
LARGEST = 1e15  # no setting comes near, and some number formats end soon after
BY_HAND = "changed by hand"


def parse(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts to values by key.

    Raises:
        UsageError: A text is no KEY=VALUE, its key is unknown, or its value is of another type.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, as in optimizer.lr=0.1, got {text!r}")
        kind = {**OF_CELL, **OF_RECIPE}.get(key, float if key.startswith(PREFIX) else None)
        if kind is None:
            known = [*OF_CELL, *(PREFIX + name for name in OF_OPTIMIZER), *OF_RECIPE]
            raise UsageError(unknown_name("key of --set", key, known))
        found[key] = _value(key, kind, value.strip())
    return found


def _value(key: str, kind: type, text: str) -> Any:
    if kind is str:
        return text
    try:
        value = kind(text)
    except ValueError:
        wanted = "whole number" if kind is int else "number"
        raise UsageError(f"--set {key} needs a {wanted}, got {text!r}") from None
    if not (abs(value) < math.inf and abs(value) <= LARGEST):
        raise UsageError(f"--set {key} needs a finite number, got {text!r}")
    return value


def apply(cells: Sequence[Cell], changes: Mapping[str, Any]) -> list[Cell]:
    """The cells with `changes`.

    Raises:
        UsageError: A cell's optimizer lacks the option, or a value is out of range.
    """
    if not changes:
        return list(cells)
    return [_changed(cell, changes) for cell in cells]


def _changed(cell: Cell, changes: Mapping[str, Any]) -> Cell:
    try:
        of_cell = {key: value for key, value in changes.items() if key in OF_CELL}
        cell = replace(cell, **of_cell)
        if cell.recipe is None:  # an optimizer that cannot be used here: the cell is skipped
            return cell
        recipe = _rescaled(cell, cell.recipe) if "batch_size" in changes else cell.recipe
        changed = _changed_recipe(cell.optimizer, recipe, changes)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error
    return replace(cell, recipe=changed)


def _rescaled(cell: Cell, recipe: Recipe) -> Recipe:
    """An optimizer's defaults are for any batch size; what was found is for its own."""
    if recipe.origin != DEFAULT_ORIGIN:
        return recipe
    return untuned(cell.optimizer, cell.batch_size)


def _changed_recipe(optimizer: str, recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    plain = {key: value for key, value in changes.items() if key in OF_RECIPE}
    own: dict[str, float] = {}
    for key, value in changes.items():
        name = key.removeprefix(PREFIX)
        if key in OF_CELL or key in OF_RECIPE:
            continue
        if name in OF_OPTIMIZER:
            plain[name] = value
        else:
            own[name] = value
    try:
        known = optimizers.catalog.get(optimizer).options
    except Unavailable:
        known = {}
    options = with_options(recipe, optimizer, known, own)
    changed = replace(recipe, options=options, **plain)
    return recipe if changed == recipe else replace(changed, origin=BY_HAND)
