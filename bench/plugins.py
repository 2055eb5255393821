"""Entries from outside the repository: files, modules, and what is installed as an entry point."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from bench import grid, registry
from bench.cell import Cell
from bench.errors import UsageError
from bench.grid import Grid
from bench.plugin_files import Broken, module_of, origin_of
from bench.setting import Setting
from pipelines.base import Library
from pipelines.building import can_be_spelled
from pipelines.catalog import Catalog, Origin, Unavailable, check_named

GROUP = "pipeline_bench"  # of entry points


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One that can be used.

    Args:
        origin: Where it is and which code it is.
        names: Of its entries, by kind ("architectures").
    """

    origin: Origin
    names: Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """Those that a command uses, and why those installed ones cannot be used that cannot."""

    loaded: Sequence[Plugin] = ()
    broken: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> list[str]:
        """A sentence for each that is installed and cannot be used."""
        return [
            f"The installed plugin {name} cannot be used: {reason}. Mend it, or uninstall it."
            for name, reason in self.broken.items()
        ]


@contextmanager
def used(asked: Sequence[str]) -> Iterator[Plugins]:
    """Entries of plugins are found like the suite's own within the block.

    Args:
        asked: Files and modules that were named. Installed ones come by themselves.

    Raises:
        UsageError: One that was named cannot be used.
    """
    loaded: list[Plugin] = []
    broken: dict[str, str] = {}
    try:
        for said in asked:
            with _told(said):
                _take(origin_of(said), loaded)
        for name, find in installed():
            try:
                _take(find(), loaded)
            except Broken as problem:
                broken[name] = str(problem)
        yield Plugins(loaded=tuple(loaded), broken=broken)
    finally:
        for plugin in loaded:
            leave(plugin.origin)


def installed() -> Iterator[tuple[str, Callable[[], Origin]]]:
    """Each entry point as people know it, and what finds its origin; nothing is imported."""
    for point in entry_points(group=GROUP):
        home = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
        yield f"{point.name}{home}", partial(_of_point, point.module, point.attr)


def _of_point(module: str, attribute: str | None) -> Origin:
    if attribute:
        raise Broken(f"{module}:{attribute} is no module; its entry point names more than that")
    return origin_of(module)


@contextmanager
def _told(said: str) -> Iterator[None]:
    try:
        yield
    except Broken as problem:
        raise UsageError(f"--plugin {said}: {problem}") from problem


@contextmanager
def joined(places: Mapping[str, str]) -> Iterator[None]:
    """Within the block a worker has the entries that the command which started it had.

    Args:
        places: By what each is loaded, by its origin as text; names were compared before.

    Raises:
        Unavailable: One is not there any more, or not as it was.
    """
    origins: list[Origin] = []
    try:
        for known, place in places.items():
            try:
                origin = origin_of(place)
                if str(origin) != known:
                    raise Broken("it was changed meanwhile; run the command again")
                found = _entries(origin)
            except Broken as problem:
                name = known.rpartition(" ")[0]
                raise Unavailable(f"the plugin {name} cannot be used: {problem}") from problem
            origins.append(origin)
            join(found, origin)
        yield
    finally:
        for origin in origins:
            leave(origin)


def as_recorded(wanted: Sequence[str], asked: Sequence[str]) -> dict[str, str] | None:
    """By what the plugins of a record are loaded, if they are here as they were; runs nothing.

    Args:
        wanted: Their origins as text.
        asked: What was named when it was recorded.
    """
    finders = [partial(origin_of, said) for said in asked] + [find for _, find in installed()]
    found: dict[str, str] = {}
    for find in finders:
        with suppress(Broken):
            origin = find()
            found[str(origin)] = origin.place
    if not found.keys() >= set(wanted):
        return None
    return {known: found[known] for known in wanted}


def join(found: Mapping[str, Sequence[Any]], origin: Origin) -> None:
    """Puts entries, by kind, among the suite's own."""
    for kind, catalog in registry.CATALOGS.items():
        catalog.join(found.get(kind, ()), origin)
    for entry in found.get("grids", ()):
        grid.JOINED[entry.name] = (_guarded(entry, origin), origin)


def leave(origin: Origin) -> None:
    """Takes those that came from there away again."""
    for catalog in registry.CATALOGS.values():
        catalog.leave(origin)
    for name in [name for name, (_, whose) in grid.JOINED.items() if whose is origin]:
        del grid.JOINED[name]


def _take(origin: Origin, loaded: list[Plugin]) -> None:
    """Joins a plugin, unless it is among those that are.

    Raises:
        Broken: It cannot be used.
    """
    if any(plugin.origin.place == origin.place for plugin in loaded):
        return
    found = _entries(origin)
    for kind, entries in found.items():
        _refuse_taken(kind, [entry.name for entry in entries], origin)
    join(found, origin)
    names = {kind: [entry.name for entry in entries] for kind, entries in found.items()}
    loaded.append(Plugin(origin=origin, names=names))


def _entries(origin: Origin) -> dict[str, list[Any]]:
    """A plugin's own entries by kind; what it imported from the suite or another is not its own.

    Raises:
        Broken: It cannot be imported, defines no entry, or one that is none.
    """
    module = module_of(origin)
    found: dict[str, list[Any]] = {}
    for kind, catalog in registry.CATALOGS.items():
        every = {id(entry): entry for entry in catalog.within(module)}  # two names for one object
        if own := [entry for entry in every.values() if not _is_anothers(catalog, entry)]:
            found[kind] = own
    known = list(grid.grids().values())
    grids = [value for value in vars(module).values() if isinstance(value, Grid)]
    if own_grids := [each for each in grids if each not in known]:
        found["grids"] = own_grids
    if not found:
        raise Broken(
            "it defines nothing: entries are objects of Architecture, Optimizer, Augmentation, "
            "Library or Grid at the level of the module"
        )
    for entries in found.values():
        for entry in entries:
            _check(entry)
    return found


def _is_anothers(catalog: Catalog[Any], entry: Any) -> bool:
    """Whether an entry that the plugin has is the suite's or another plugin's: of no new module."""
    if catalog.origin(entry.name) is not None and catalog.get(entry.name) is entry:
        return True
    homes = [module for name, module in sys.modules.items() if name.startswith(catalog.package)]
    return any(value is entry for home in homes for value in list(vars(home).values()))


def _check(entry: Any) -> None:
    """Refuses what would only fail later, far from its cause.

    Raises:
        Broken: A field of the entry is of another kind than it must be.
    """
    check_named(entry)
    what = f"the {type(entry).__name__} {entry.name}"
    makes = getattr(entry, "cells" if isinstance(entry, Grid) else "build", None)
    if makes is not None and not callable(makes):
        raise Broken(f"{what} makes nothing: {makes!r} cannot be called")
    number = getattr(entry, "version", 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise Broken(f"the version of {what} is no whole number: {number!r}")
    if isinstance(entry, Library) and not can_be_spelled(entry.name):
        raise Broken(f"{what} needs a name of small letters, digits and '_'")


def _refuse_taken(kind: str, names: Sequence[str], origin: Origin) -> None:
    """Compares with the suite's own names and with those that have joined.

    Raises:
        Broken: A name would stand for two entries.
    """
    for name in names:
        home = grid.home(name) if kind == "grids" else registry.CATALOGS[kind].home(name)
        if names.count(name) > 1:
            home = f"another one in {origin.name}"
        if home:
            raise Broken(
                f"the name {name!r} of its {kind.removesuffix('s')} is taken by {home}; "
                "give one of the two another name"
            )


def _guarded(entry: Grid, origin: Origin) -> Grid:
    """The grid with its mistakes told as its own."""

    def cells(setting: Setting) -> list[Cell]:
        what = f"the grid {entry.name!r} of {origin.name}"
        try:
            found = list(entry.cells(setting))
        except Exception as error:
            raise UsageError(f"{what} fails: {type(error).__name__}: {error}") from error
        if not found or not all(isinstance(cell, Cell) for cell in found):
            raise UsageError(f"{what} gives {found[:1] or 'nothing'} where cells belong")
        return found

    return replace(entry, cells=cells)


__all__ = ["Plugin", "Plugins", "as_recorded", "joined", "used"]
