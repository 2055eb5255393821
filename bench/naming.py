"""What tells cells of one name apart: "cnn4/sgd/none/native (25 epochs)".

A cell is shown by its name where that is enough, and otherwise with what differs in brackets.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar

from bench.cell import AXES, FIELDS, Cell

K = TypeVar("K")


class Names:
    """Names that tell cells and runs apart among `cells`."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        names = {cell.identity: cell.name for cell in cells}
        self._apart = told_apart(names, lambda same: distinctions({cell: cell for cell in same}))

    def __call__(self, name: str, cell: Cell) -> str:
        """The name of a cell or of a run of it, with what tells the cell apart."""
        return bracketed(name, self._apart.get(cell.identity, ""))


def bracketed(name: str, apart: str) -> str:
    """A name with what tells it apart, if anything: "cnn4/sgd/none/native (25 epochs)"."""
    return f"{name} ({apart})" if apart else name


def told_apart(
    names: Mapping[K, str], distinguish: Callable[[Sequence[K]], Mapping[K, str]]
) -> dict[K, str]:
    """What `distinguish` says of the keys that share a name; "" for all others."""
    same: dict[str, list[K]] = defaultdict(list)
    for key, name in names.items():
        same[name].append(key)
    found = dict.fromkeys(names, "")
    for keys in same.values():
        if len(keys) > 1:
            found |= distinguish(keys)
    return found


def distinctions(
    cells: Mapping[K, Cell],
    texts: Mapping[K, Mapping[str, str]] | None = None,
    *,
    ignore: Collection[str] = (),
) -> dict[K, str]:
    """How each cell differs from the others apart from its name: "9 epochs, lr 0.1".

    Args:
        texts: Displayed texts of what may differ, by name; by default the cells' labels.
        ignore: Names to leave out.
    """
    if texts is None:
        texts = {key: cell.labels() for key, cell in cells.items()}
    names = dict.fromkeys(name for each in texts.values() for name in each if name not in ignore)
    differing = [n for n in names if len({each.get(n, "") for each in texts.values()}) > 1]
    words = {key: [text for n in differing if (text := texts[key].get(n))] for key in cells}
    recipes: dict[str, list[dict[str, str]]] = defaultdict(list)
    for cell in cells.values():
        recipes[cell.name].append(recipe_settings(cell))
    alike: dict[tuple[str, ...], list[K]] = defaultdict(list)
    for key, cell in cells.items():
        for name, value in recipe_settings(cell).items():
            if any(other.get(name) != value for other in recipes[cell.name]):
                words[key].append(f"{name} {value}")
        alike[cell.name, *words[key]].append(key)
    named = [name for name in FIELDS if name not in (*AXES, *ignore, "recipe")]
    for same, name in product(alike.values(), named):  # values with one text: targets .9401, .9404
        if len({getattr(cells[key], name) for key in same}) > 1:
            for key in same:
                words[key].append(_exact(cells[key], name))
    return {key: ", ".join(found) for key, found in words.items()}


def _exact(cell: Cell, name: str) -> str:
    value = getattr(cell, name)
    return f"target {100 * value:.10g} %" if name == "target_accuracy" else f"{name} {value}"


def recipe_settings(cell: Cell) -> dict[str, str]:
    """The settings of a cell's recipe as text, by name; empty for old records."""
    own = cell.recipe.settings if cell.recipe else {}
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in own.items()
    }


def labels_of(cell: Cell) -> set[str]:
    """Every text that can tell the cell apart from others of its name: "25 epochs", "lr 0.1"."""
    exact = (_exact(cell, name) for name in FIELDS if isinstance(getattr(cell, name), float))
    recipe = (f"{name} {value}" for name, value in recipe_settings(cell).items())
    return {*filter(None, cell.labels().values()), *exact, *recipe}
