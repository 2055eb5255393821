"""Entries from outside the repository: files, modules, and what is installed as an entry point.

Finds a plugin's source, names it by what is in it, and imports it.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.cell import Cell
from bench.errors import UsageError
from bench.grid import grids as grid
from bench.grid import registry
from bench.grid.grids import Grid, GridConfig
from bench.store.files import StrangeFile, read_file
from pipelines import importing
from pipelines.base import Library
from pipelines.building import can_be_spelled
from pipelines.catalog import Catalog, Origin, Unavailable, check_named
from pipelines.importing import Broken

LARGEST = 2**24  # bytes of a source file
SOURCES = (
    *importlib.machinery.SOURCE_SUFFIXES,
    *importlib.machinery.EXTENSION_SUFFIXES,
)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def origin_of(said: str) -> Origin:
    """Where a plugin is and which code it is; nothing of a file or a package is run for it.

    Args:
        said: A file's path, or the name of a module that can be imported.

    Raises:
        Broken: There is no such file or module, or its source cannot be read.
    """
    try:
        path = Path(said).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # too long, not permitted, no such user
        raise Broken(f"it cannot be read: {getattr(error, 'strerror', error)}") from error
    if folder and (_like_a_path(said) or not _MODULE.fullmatch(said)):
        raise Broken("it is a folder; name a file in it, or a module that can be imported")
    if _like_a_path(said) or file:
        name = re.sub(r"[^\w.-]", "_", path.name)
        return Origin(name=name, digest=_digest(_read(path)), place=str(path.absolute()))
    return _origin_of_module(said)


def module_of(origin: Origin) -> ModuleType:
    """The plugin, imported; what it prints meanwhile goes to standard error.

    Raises:
        Broken: It cannot be imported, or is no longer what it was.
    """
    with _aside():
        if not Path(origin.place).is_absolute():
            return importing.load(origin.place)
        source = _read(Path(origin.place))
        if _digest(source) != origin.digest:
            raise Broken("it was changed while it was read; run the command again")
        stem = re.sub(r"\W", "_", Path(origin.place).stem)
        name = f"plugin_{stem}_{origin.digest}"
        return importing.load(name, partial(_run, source, origin.place))


def _like_a_path(said: str) -> bool:
    return said.endswith(".py") or os.sep in said


def _read(path: Path) -> bytes:
    try:
        return read_file(path, LARGEST)
    except FileNotFoundError as error:
        raise Broken("there is no such file") from error
    except StrangeFile as error:
        raise Broken(str(error)) from error
    except (OSError, ValueError) as error:  # also a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise Broken(f"it cannot be read: {reason}") from error


def _digest(*parts: bytes) -> str:
    """16 hexadecimal digits over the parts and their borders."""
    whole = sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def _run(source: bytes, path: str, name: str) -> ModuleType:
    """A file as a module, without a compiled copy beside it."""
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # where dataclasses and pickle look for what it defines
    try:
        exec(compile(source, path, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _origin_of_module(name: str) -> Origin:
    """By the source of the whole top-level package, since modules of one package use each other."""
    if not _MODULE.fullmatch(name):
        raise Broken("there is no such file, and it is no name of a module")
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:count]))
        if spec is None:
            break
        if spec.origin is not None and (spec.has_location or count == len(parts)):
            return Origin(name=name, digest=_digest(*_sources(spec)), place=name)
    raise Broken("there is no such file, and no module of that name can be imported")


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # not a package above it; a module that was made by hand
        return None


def _sources(spec: ModuleSpec) -> Iterator[bytes]:
    """Names and contents of a package's source files, or of a module's one."""
    assert spec.origin is not None
    file = Path(spec.origin)
    if not file.is_file():
        raise Broken("its source is no file here, so that its versions could not be told apart")
    if not spec.submodule_search_locations:
        yield _read(file)
        return
    for path in sorted(file.parent.rglob("*")):
        if path.name.endswith(SOURCES) and path.is_file():
            yield os.fsencode(path.relative_to(file.parent))
            yield _read(path)


@contextmanager
def _aside() -> Iterator[None]:
    """What is printed within, by C libraries too, goes to standard error: tables stay whole."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)


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

    def cells(config: GridConfig) -> list[Cell]:
        what = f"the grid {entry.name!r} of {origin.name}"
        try:
            found = list(entry.cells(config))
        except Exception as error:
            raise UsageError(f"{what} fails: {type(error).__name__}: {error}") from error
        if not found or not all(isinstance(cell, Cell) for cell in found):
            raise UsageError(f"{what} gives {found[:1] or 'nothing'} where cells belong")
        return found

    return replace(entry, cells=cells)
