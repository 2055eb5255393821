"""All entries in one place: what there is, what cannot be used here and why, and their versions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import architectures
from bench import optimizers
from bench.cell import AXES, Cell, Version, version_of
from pipelines import augmentations, building
from pipelines.base import Unsupported
from pipelines.catalog import Catalog, Origin, Unavailable

CATALOGS: Mapping[str, Catalog[Any]] = {
    "architectures": architectures.catalog,
    "optimizers": optimizers.catalog,
    "augmentations": augmentations.catalog,
    "pipelines": building.catalog,
}


# By axis of a cell: a name to its entry.
FIND: Mapping[str, Callable[[str], Any]] = {
    "architecture": architectures.get,
    "optimizer": optimizers.catalog.get,
    "augmentation": augmentations.catalog.get,
    "pipeline": lambda spelling: building.catalog.get(spelling.partition("[")[0]),
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One line of `bench list`. `problem` is set when the entry cannot be used here."""

    kind: str
    name: str
    why: str
    default: bool = False
    problem: str = ""


def listing(kind: str) -> list[Listing]:
    """Every entry of a kind, the usable first, then the files that cannot be imported."""
    catalog = CATALOGS[kind]
    usable = [
        Listing(kind=kind, name=name, why=entry.why, default=getattr(entry, "default", False))
        for name, entry in catalog.entries.items()
    ]
    broken = [
        Listing(kind=kind, name=name, why="", problem=reason)
        for name, reason in catalog.broken.items()
    ]
    return usable + broken


def broken_told() -> list[str]:
    """A sentence for each kind that a grid took all entries of, where some could not be had."""
    told = []
    for kind, catalog in CATALOGS.items():
        broken = catalog.broken if catalog.looked_through else {}
        if broken:
            reasons = "; ".join(f"{file}.py ({reason})" for file, reason in broken.items())
            told.append(
                f"The grid lacks the {kind} of files that cannot be used: {reasons}. "
                "Mend them, or take them away."
            )
    return told


def defaults(kind: str) -> list[str]:
    """Names of the entries that the default grid uses."""
    return [entry.name for entry in listing(kind) if entry.default]


def elsewhere(word: str) -> str:
    """How to train what exists and the chosen grid lacks; "" for a word that is no entry's name."""
    for axis, catalog in zip(AXES, CATALOGS.values(), strict=True):
        if word in catalog.entries:
            return f"the grid lacks it, --{axis} {word} puts it in all cells"
    return ""


def versions(cell: Cell) -> dict[str, Version]:
    """The versions of the entries that a cell is made of.

    Raises:
        UnknownName: The cell names something that does not exist.
    """
    return {axis: _version(axis, getattr(cell, axis)) for axis in AXES}


def _version(axis: str, name: str) -> Version:
    try:
        number = int(FIND[axis](name).version)
    except Unavailable:
        return 0
    origin = _origin(axis, name)
    return version_of(number, str(origin)) if origin else number


def _origin(axis: str, name: str) -> Origin | None:
    return CATALOGS[f"{axis}s"].origin(name.partition("[")[0])


def places(**names: Iterable[str]) -> dict[str, str]:
    """By what the plugins are loaded that entries come from, by origin as text.

    Args:
        names: Of the entries, by axis.
    """
    origins = (_origin(axis, name) for axis, of_axis in names.items() for name in of_axis)
    return {str(origin): origin.place for origin in origins if origin is not None}


def problem(cell: Cell) -> str | None:
    """Why a cell cannot run here, or None.

    Raises:
        UnknownName: The cell names something that does not exist.
    """
    try:
        architectures.get(cell.architecture)
        optimizers.catalog.get(cell.optimizer)
        policy = augmentations.catalog.get(cell.augmentation)
        variant = building.parse(cell.pipeline)
        variant.library.semantics(policy)
    except (Unavailable, Unsupported) as error:
        return str(error)
    return variant.library.problem(variant.mode, cell.device) or None
