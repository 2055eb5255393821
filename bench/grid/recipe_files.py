"""Recipe files, of the suite and of users: JSON lists of recipes by net and optimizer."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench import optimizers
from bench.cell import FIRST_RECIPE_FIELDS, Scale
from bench.errors import UsageError, check_choice
from bench.recipe import DEFAULT_ORIGIN, Recipe
from bench.store.files import read_file
from pipelines.catalog import Unavailable, unknown_name

SHIPPED = Path(__file__).parent / "recipes"
MAX_BYTES = 2**24
KEYS = ("architecture", "optimizer", "batch_size")
SETTINGS = tuple(field.name for field in fields(Recipe))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The recipe of a net and an optimizer, with its batch size."""

    architecture: str
    optimizer: str
    recipe: Recipe
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Book:
    """Recipes by (architecture, optimizer)."""

    entries: Mapping[tuple[str, str], Entry]

    def find(self, architecture: str, optimizer: str, batch_size: int) -> tuple[Recipe, int]:
        """The recipe of a net and an optimizer, and its batch size.

        Without an entry, the optimizer's defaults for `batch_size`.

        Raises:
            UnknownName: There is no such optimizer.
            Unavailable: It cannot be used here.
        """
        entry = self.entries.get((architecture, optimizer))
        if entry is not None:
            return entry.recipe, entry.batch_size
        return untuned(optimizer, batch_size), batch_size


def untuned(optimizer: str, batch_size: int) -> Recipe:
    """The defaults of an optimizer for a batch size; raises as `Book.find`."""
    default = optimizers.catalog.get(optimizer).default_recipe(batch_size)
    return replace(default, origin=DEFAULT_ORIGIN)


def with_options(recipe: Recipe, optimizer: str, changes: Mapping[str, float]) -> Recipe:
    """The recipe with all options of the optimizer: from `changes`, the recipe, or the defaults.

    The recipe of an unavailable optimizer, whose runs are skipped, is returned as it is.

    Raises:
        UsageError: The optimizer has no option of that name.
    """
    try:
        known = optimizers.catalog.get(optimizer).options
    except Unavailable:
        return recipe
    for name in changes:
        check_choice(f"option of the optimizer {optimizer}", name, known)
    return replace(recipe, options=tuple({**known, **dict(recipe.options), **changes}.items()))


def book(scale: Scale, user_file: Path | None = None) -> Book:
    """The suite's recipes for a scale, and those of a user's file, which take precedence."""
    entries = dict(_shipped(scale))
    if user_file is not None:
        entries |= by_name(read(user_file))
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
        UsageError: It cannot be read, or has an invalid recipe.
    """
    try:
        text = read_file(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # also not a plain file, or an impossible name
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the recipes {path} cannot be read: {reason}") from error
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the recipes {path} are not JSON: {error}") from error
    if not isinstance(plain, list):
        raise UsageError(f"the recipes {path} are not a list of recipes")
    return [_entry(path, number, item) for number, item in enumerate(plain, start=1)]


def _entry(path: Path, number: int, plain: Any) -> Entry:
    where = f"recipe {number} of {path}"
    if not isinstance(plain, dict):
        raise UsageError(f"{where} is not an object with the keys {', '.join(KEYS)} and settings")
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
    names = {key: plain[key] for key in KEYS}
    try:
        recipe = with_options(Recipe(**settings), plain["optimizer"], options)
    except Exception as error:  # values may be of any type
        raise UsageError(f"{where}: {error}") from error
    return Entry(recipe=recipe, **names)


def render(entries: Iterable[Entry]) -> str:
    """The text of a file by name, without later fields at their default; inverse of `read`."""
    plain = []
    later = fields(Recipe)[FIRST_RECIPE_FIELDS:]
    for entry in sorted(entries, key=lambda entry: (entry.architecture, entry.optimizer)):
        settings = asdict(entry.recipe) | {"options": dict(entry.recipe.options)}
        for field in later:
            if settings[field.name] == field.default:
                del settings[field.name]
        plain.append({key: getattr(entry, key) for key in KEYS} | settings)
    return json.dumps(plain, indent=1) + "\n"
