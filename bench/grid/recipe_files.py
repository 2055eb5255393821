"""Recipe files: JSON lists of recipes by net and optimizer, shipped ones and one's own."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench import optimizers
from bench.cell import Scale
from bench.errors import UsageError
from bench.recipe import DEFAULT_ORIGIN, Recipe, with_options
from bench.store.files import read_file
from pipelines.catalog import Unavailable, unknown_name

SHIPPED = Path(__file__).parent / "recipes"
LARGEST = 2**24  # bytes


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recipe of a file.

    Args:
        architecture: Entry name.
        optimizer: Entry name.
        recipe: Its origin included.
        batch_size: Images a step that it is meant for.
    """

    architecture: str
    optimizer: str
    recipe: Recipe
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Book:
    """All recipes that may be used, those read last first.

    Args:
        entries: By (architecture, optimizer).
    """

    entries: Mapping[tuple[str, str], Entry]

    def find(self, architecture: str, optimizer: str, batch_size: int) -> tuple[Recipe, int]:
        """The recipe of a net and an optimizer, and its batch size.

        Args:
            architecture: Entry name.
            optimizer: Likewise.
            batch_size: What the optimizer's own defaults are scaled to where there is no recipe.

        Raises:
            UnknownName: There is no such optimizer.
            Unavailable: It cannot be used here.
        """
        found = self.entries.get((architecture, optimizer))
        if found is not None:
            return found.recipe, found.batch_size
        return untuned(optimizer, batch_size), batch_size


def untuned(optimizer: str, batch_size: int) -> Recipe:
    """The defaults of an optimizer for a batch size, which say that this is what they are.

    Raises:
        UnknownName: There is no such optimizer.
        Unavailable: It cannot be used here.
    """
    default = optimizers.catalog.get(optimizer).default_recipe(batch_size)
    return replace(default, origin=DEFAULT_ORIGIN)


def book(scale: Scale, more: Path | None = None) -> Book:
    """The recipes that are shipped for a scale, and those of a file of one's own.

    Raises:
        UsageError: A file cannot be read, or says something that no recipe has.
    """
    entries = dict(_shipped(scale))
    if more is not None:
        entries |= by_name(read(more))
    return Book(entries=entries)


@cache
def _shipped(scale: Scale) -> Mapping[tuple[str, str], Entry]:
    path = SHIPPED / f"{scale}.json"
    return by_name(read(path)) if path.exists() else {}


def by_name(entries: Iterable[Entry]) -> dict[tuple[str, str], Entry]:
    """Entries by architecture and optimizer."""
    return {(entry.architecture, entry.optimizer): entry for entry in entries}


def read(path: Path) -> list[Entry]:
    """The entries of a file.

    Raises:
        UsageError: It cannot be read, or says something that no recipe has; names what and where.
    """
    try:
        text = read_file(path, LARGEST)
    except OSError as error:
        raise UsageError(f"the recipes {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no plain file, or a name that no file can have
        raise UsageError(f"the recipes {path} cannot be read: {error}") from error
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the recipes {path} are no JSON: {error}") from error
    if not isinstance(plain, list):
        raise UsageError(f"the recipes {path} are no list of recipes")
    return [_entry(path, number, one) for number, one in enumerate(plain, start=1)]


UNUSABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, UsageError)
KEYS = ("architecture", "optimizer", "batch_size")
SETTINGS = tuple(field.name for field in fields(Recipe))


def _entry(path: Path, number: int, plain: Any) -> Entry:
    where = f"recipe {number} of {path}"
    if not isinstance(plain, dict):
        raise UsageError(f"{where} is no object with the keys {', '.join(KEYS)} and settings")
    where = f"{where} ({plain.get('architecture', '?')}, {plain.get('optimizer', '?')})"
    for key in plain:
        if key not in (*KEYS, *SETTINGS):
            raise UsageError(f"{where}: {unknown_name('key', key, [*KEYS, *SETTINGS])}")
    for key in (*KEYS, "lr"):
        if key not in plain:
            raise UsageError(f"{where} lacks the key {key!r}")
    size = plain["batch_size"]
    if not isinstance(size, int) or size < 1:
        raise UsageError(f"{where}: batch_size is a whole number from 1 on, got {size!r}")
    settings = {key: value for key, value in plain.items() if key in SETTINGS}
    options = settings.pop("options", {})
    try:
        recipe = Recipe(**settings)
        with suppress(Unavailable):  # its runs are skipped with the reason
            known = optimizers.catalog.get(plain["optimizer"]).options
            added = with_options(recipe, plain["optimizer"], known, options)
            recipe = replace(recipe, options=added)
    except UNUSABLE as error:
        raise UsageError(f"{where}: {error}") from error
    return Entry(
        architecture=plain["architecture"],
        optimizer=plain["optimizer"],
        recipe=recipe,
        batch_size=size,
    )


def render(entries: Iterable[Entry]) -> str:
    """The text of a file, entries sorted by name; `read` gives the same entries back."""
    plain = []
    for entry in sorted(entries, key=lambda entry: (entry.architecture, entry.optimizer)):
        settings = asdict(entry.recipe) | {"options": dict(entry.recipe.options)}
        keys = {key: getattr(entry, key) for key in KEYS}
        plain.append(keys | settings)
    return json.dumps(plain, indent=1) + "\n"
