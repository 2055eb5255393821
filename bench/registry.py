"""All entries in one place: what there is, what cannot be used here and why, and their versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import architectures
from bench import optimizers
from bench.cell import Cell
from pipelines import augmentations, building
from pipelines.base import Unsupported
from pipelines.catalog import Catalog, Unavailable

CATALOGS: Mapping[str, Catalog[Any]] = {
    "architectures": architectures.catalog,
    "optimizers": optimizers.catalog,
    "augmentations": augmentations.catalog,
    "pipelines": building.catalog,
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


def defaults(kind: str) -> list[str]:
    """Names of the entries that the default grid uses."""
    return [entry.name for entry in listing(kind) if entry.default]


def versions(cell: Cell) -> dict[str, int]:
    """The versions of the entries that a cell is made of.

    Raises:
        UnknownName: The cell names something that does not exist.
    """
    return {
        "architecture": _version(architectures.get, cell.architecture),
        "optimizer": _version(optimizers.catalog.get, cell.optimizer),
        "augmentation": _version(augmentations.catalog.get, cell.augmentation),
        "pipeline": _version(building.catalog.get, cell.pipeline.partition("[")[0]),
    }


def _version(get: Callable[[str], Any], name: str) -> int:
    try:
        return int(get(name).version)
    except Unavailable:
        return 0


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
