"""The entries of all catalogs: which are available, why others are not, and their versions."""

from collections.abc import Iterable, Mapping
from typing import Any

import architectures
from bench import optimizers
from bench.cell import AXES, Cell, Version, version_of
from bench.listing import FIELDS, Listing, listed
from pipelines import augmentations, building
from pipelines.base import Unsupported
from pipelines.catalog import Catalog, Origin, Unavailable

CATALOGS: Mapping[str, Catalog[Any]] = {
    "architectures": architectures.catalog,
    "optimizers": optimizers.catalog,
    "augmentations": augmentations.catalog,
    "pipelines": building.catalog,
}


def listing(kind: str) -> list[Listing]:
    """Every entry of a kind, then the files that cannot be imported."""
    catalog = CATALOGS[kind]
    usable = [
        listed(kind, **{field: getattr(entry, field) for field in FIELDS if hasattr(entry, field)})
        for entry in catalog.entries.values()
    ]
    broken = [
        Listing(kind=kind, name=name, why="", problem=reason)
        for name, reason in catalog.broken.items()
    ]
    return usable + broken


def defaults(kind: str) -> list[str]:
    """Names of the entries that the default grid uses."""
    return [entry.name for entry in listing(kind) if entry.default]


def broken_files() -> list[str]:
    """A sentence for each kind with broken files, if a grid used all entries of that kind."""
    sentences = []
    for kind, catalog in CATALOGS.items():
        broken = catalog.broken if catalog.looked_through else {}
        if broken:
            reasons = "; ".join(f"{file}.py ({reason})" for file, reason in broken.items())
            sentences.append(
                f"The grid lacks the {kind} of files that cannot be used: {reasons}. "
                "Fix or remove them."
            )
    return sentences


def hint(word: str) -> str:
    """How to train an entry that the grid lacks; "" if `word` is not the name of one."""
    for axis in AXES:
        if word in CATALOGS[f"{axis}s"].entries:
            return f"the grid lacks it, --{axis} {word} puts it in all cells"
    return ""


def find(axis: str, name: str) -> Any:
    """The entry called `name` of an axis of a cell.

    Raises:
        UnknownName: There is no such entry.
        Unavailable: It cannot be used here.
    """
    if axis == "architecture":
        return architectures.get(name)  # also those of timm and torchvision
    return CATALOGS[f"{axis}s"].get(_without_mode(name))


def versions(cell: Cell) -> dict[str, Version]:
    """The versions of a cell's entries, by axis; 0 for one that is unavailable here.

    Raises:
        UnknownName: The cell names something that does not exist.
    """
    return {axis: _version(axis, getattr(cell, axis)) for axis in AXES}


def _version(axis: str, name: str) -> Version:
    try:
        number = int(find(axis, name).version)
    except Unavailable:
        return 0
    origin = _origin(axis, name)
    return version_of(number, str(origin)) if origin else number


def _origin(axis: str, name: str) -> Origin | None:
    return CATALOGS[f"{axis}s"].origin(_without_mode(name))


def _without_mode(name: str) -> str:
    return name.partition("[")[0]  # "kornia[compiled]"


def places(**names: Iterable[str]) -> dict[str, str]:
    """Path or module of the plugins that define these entries, by origin as text."""
    origins = (_origin(axis, name) for axis, of_axis in names.items() for name in of_axis)
    return {str(origin): origin.place for origin in origins if origin is not None}


def problem(cell: Cell) -> str | None:
    """Why a cell cannot run here, or None; UnknownName as `versions`."""
    try:
        for axis in AXES:
            find(axis, getattr(cell, axis))
        variant = building.parse(cell.pipeline)
        variant.semantics(augmentations.catalog.get(cell.augmentation))
    except (Unavailable, Unsupported) as error:
        return str(error)
    return variant.library.problem(variant.mode, cell.device) or None
