"""What the optimizer of a cell was set to, told where rows of equal names differ in it."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from bench.cell import Cell


def differing_settings(cells: Sequence[Cell]) -> dict[Cell, list[str]]:
    """Each cell's settings that another cell of the same name has not: "lr 0.1"."""
    same: dict[str, list[dict[str, str]]] = defaultdict(list)
    for cell in cells:
        same[cell.name].append(settings(cell))
    return {
        cell: [
            f"{name} {value}"
            for name, value in settings(cell).items()
            if any(other.get(name) != value for other in same[cell.name])
        ]
        for cell in cells
    }


def settings(cell: Cell) -> dict[str, str]:
    """The recipe by name, the optimizer's own options beside the rest; none for old records."""
    if cell.recipe is None:
        return {}
    plain = msgspec.to_builtins(cell.recipe)
    plain |= dict(plain.pop("options"))
    plain.pop("origin")
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in plain.items()
    }
