"""`--set KEY=VALUE`: changes fields of the selected cells and of their recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.cell import FIELDS, Cell
from bench.errors import UsageError
from bench.grid.recipe_files import untuned, with_options
from bench.recipe import COUNTS, DEFAULT_ORIGIN, SHARES
from pipelines.catalog import unknown_name

PREFIX = "optimizer."  # prefix of an optimizer's options, and of these fields of a recipe:
OF_OPTIMIZER = ("lr", "weight_decay")
OF_RECIPE: Mapping[str, type] = {
    **dict.fromkeys(("schedule", "average", "weights"), str),
    **dict.fromkeys(SHARES, float),
    **dict.fromkeys(COUNTS, int),
}
OF_CELL: Mapping[str, type] = {
    name: info.settable for name, info in FIELDS.items() if info.settable is not None
}
LARGEST = 1e15  # some number formats hold little more
BY_HAND = "changed by hand"


def parse(texts: Sequence[str]) -> dict[str, Any]:
    """Parses KEY=VALUE texts into values by key.

    Raises:
        UsageError: A text is not KEY=VALUE, its key is unknown, or its value has another type.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, as in optimizer.lr=0.1, got {text!r}")
        kind = {**OF_CELL, **OF_RECIPE}.get(key, float if key.startswith(PREFIX) else None)
        if kind is None:
            known = [*OF_CELL, *(PREFIX + name for name in OF_OPTIMIZER), *OF_RECIPE]
            raise UsageError(unknown_name("key of --set", key, known))
        values[key] = _value(key, kind, value.strip())
    return values


def _value(key: str, kind: type, text: str) -> Any:
    if kind is str:
        return text
    try:
        value = kind(text)
    except ValueError:
        wanted = "whole number" if kind is int else "number"
        raise UsageError(f"--set {key} needs a {wanted}, got {text!r}") from None
    if not abs(value) <= LARGEST:  # "not" for NaN
        raise UsageError(f"--set {key} needs a finite number, got {text!r}")
    return value


def apply(cells: Sequence[Cell], values: Mapping[str, Any]) -> list[Cell]:
    """The cells with the values of `--set`.

    Raises:
        UsageError: A cell's optimizer lacks the option, or a value is out of range.
    """
    try:
        return [_changed(cell, values) for cell in cells] if values else list(cells)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def _changed(cell: Cell, values: Mapping[str, Any]) -> Cell:
    cell = replace(cell, **{key: value for key, value in values.items() if key in OF_CELL})
    recipe = cell.recipe
    if recipe is None:  # the optimizer cannot be used here: the cell is skipped
        return cell
    if "batch_size" in values and recipe.origin == DEFAULT_ORIGIN:
        recipe = untuned(cell.optimizer, cell.batch_size)  # a tuned recipe stays as it is
    fields: dict[str, Any] = {}
    options: dict[str, float] = {}
    for key, value in values.items():
        name = key.removeprefix(PREFIX)
        if key in OF_RECIPE or name in OF_OPTIMIZER:
            fields[name] = value
        elif key not in OF_CELL:
            options[name] = value
    changed = replace(with_options(recipe, cell.optimizer, options), **fields)
    if changed != recipe:
        recipe = replace(changed, origin=BY_HAND)
    return replace(cell, recipe=recipe)
