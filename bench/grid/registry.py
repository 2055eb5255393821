"""The entries of all catalogs: which are available, why others are not, and their versions."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import architectures
from bench.cell import AXES, Cell, Version, version_of
from bench.listing import FIELDS, Listing, listed, stated_entries
from pipelines import options
from pipelines.catalog import Catalog, Origin, Unavailable, UnknownName


class _Catalogs(Mapping[str, Catalog[Any]]):
    """The catalogs by kind, imported when they are asked for: that of pipelines needs torch."""

    homes: ClassVar = {
        "architectures": "architectures",
        "optimizers": "bench.optimizers",
        "augmentations": "pipelines.augmentations",
        "pipelines": "pipelines.building",
    }

    def __getitem__(self, kind: str) -> Catalog[Any]:
        catalog: Catalog[Any] = import_module(self.homes[kind]).catalog
        return catalog

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)


CATALOGS: Mapping[str, Catalog[Any]] = _Catalogs()
PLUGINS: list[Origin] = []  # whose entries are in the catalogs


def known(kind: str) -> list[Listing]:
    """Every entry of a kind: as the text of the files states them, or `listing`.

    The text is enough unless there are plugins, or something that only an import tells.
    """
    entries = None if PLUGINS else stated_entries()
    return listing(kind) if entries is None else entries[kind]


def stated(axis: str, name: str) -> Listing | None:
    """The entry of that name as the text of its file states it; None if it must be imported."""
    entries = None if PLUGINS else stated_entries()
    of_kind = [] if entries is None else entries[f"{axis}s"]
    return next((entry for entry in of_kind if entry.name == name), None)


def listing(kind: str) -> list[Listing]:
    """Every entry of a kind, then the files that cannot be imported."""
    catalog = CATALOGS[kind]
    usable = [
        listed(kind, **{field: getattr(entry, field) for field in FIELDS if hasattr(entry, field)})
        for entry in catalog.entries.values()
    ]
    broken = [
        Listing(kind=kind, name=name, why="", problem=reason, version=0)
        for name, reason in catalog.broken.items()
    ]
    return usable + broken


def defaults(kind: str) -> list[str]:
    """Names of the entries that the default grid uses."""
    return [entry.name for entry in known(kind) if entry.default]


def broken_files() -> list[str]:
    """A sentence for each kind with broken files, if a grid used all entries of that kind."""
    sentences = []
    if not PLUGINS and stated_entries() is not None:
        return []
    for kind, catalog in CATALOGS.items():
        broken = catalog.broken if catalog.is_scanned else {}
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
        if any(entry.name == word for entry in known(f"{axis}s")):
            return f"the grid lacks it, --{axis} {word} puts it in all cells"
    return ""


def check(axis: str, name: str) -> None:
    """Raises as `find`, without importing an entry that is known to be usable."""
    entry = stated(axis, _without_mode(name))
    if entry is None or entry.problem:
        find(axis, name)


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
    entry = stated(axis, _without_mode(name))
    try:
        number = entry.version if entry else int(find(axis, name).version)
    except Unavailable:
        return 0
    origin = _origin(axis, name)
    return version_of(number, str(origin)) if origin else number


def _origin(axis: str, name: str) -> Origin | None:
    return CATALOGS[f"{axis}s"].origin(_without_mode(name)) if PLUGINS else None


def _without_mode(name: str) -> str:
    return name.partition("[")[0]  # "kornia[compiled]"


def places(**names: Iterable[str]) -> dict[str, str]:
    """Path or module of the plugins that define these entries, by origin as text."""
    origins = (_origin(axis, name) for axis, of_axis in names.items() for name in of_axis)
    return {str(origin): origin.place for origin in origins if origin is not None}


def canonical_name(pipeline: str) -> str:
    """The canonical name of a pipeline, as `pipelines.building.canonical_name`."""
    entry = stated("pipeline", options.split(pipeline)[0])
    if entry is None or entry.problem:
        return str(import_module("pipelines.building").canonical_name(pipeline))
    return options.canonical(entry, *options.read(entry, pipeline))


def net(architecture: str) -> Listing | architectures.Architecture | None:
    """What is known of a net, also of those of timm and torchvision.

    None for one that cannot be looked up here, which is reported where its cells are checked.
    """
    try:
        return stated("architecture", architecture) or architectures.get(architecture)
    except (Unavailable, UnknownName):
        return None


def scales(architecture: str) -> bool:
    """Whether a net has a channel multiplier; true for one that cannot be looked up here."""
    entry = net(architecture)
    return entry is None or entry.scales


def problem(cell: Cell) -> str | None:
    """Why a cell cannot run here, or None; UnknownName as `versions`."""
    from pipelines import augmentations, building  # late: they import torch
    from pipelines.base import Unsupported

    try:
        for axis in AXES:
            find(axis, getattr(cell, axis))
        variant = building.parse(cell.pipeline)
        variant.semantics(augmentations.catalog.get(cell.augmentation))
    except (Unavailable, Unsupported) as error:
        return str(error)
    return variant.library.problem(variant.mode, cell.device) or None
