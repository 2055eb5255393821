"""Plugins: entries and grids from a file, a module, or an installed distribution.

`origin_of` identifies a plugin by a digest of its source, without running it. `used` adds the
plugins of a command to the catalogs, and `registered` those of a run in a worker.
"""

import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
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
from bench.grid import grids, registry
from bench.grid.grids import Grid, GridConfig
from bench.listing import PLUGINS
from bench.store.files import StrangeFile, read_file
from pipelines import importing
from pipelines.catalog import Catalog, Origin, Unavailable, check_named
from pipelines.importing import Broken

MAX_BYTES = 2**24  # size limit of a source file
_SUFFIXES = (*importlib.machinery.SOURCE_SUFFIXES, *importlib.machinery.EXTENSION_SUFFIXES)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A loaded plugin, and the names of its entries by kind ("architectures")."""

    origin: Origin
    names: Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The plugins of a command, and why each broken installed one was rejected."""

    loaded: Sequence[Plugin] = ()
    broken: Mapping[str, str] = field(default_factory=dict)

    def notices(self) -> list[str]:
        """A sentence for each installed plugin that is broken."""
        return [
            f"The installed plugin {name} cannot be used: {reason}. Fix it or uninstall it."
            for name, reason in self.broken.items()
        ]


@contextmanager
def used(asked: Sequence[str]) -> Iterator[Plugins]:
    """Within the block, the catalogs include the entries of plugins.

    Args:
        asked: Files and modules that were named; installed plugins are always included.

    Raises:
        UsageError: A plugin that was named cannot be used.
    """
    loaded: dict[str, Plugin] = {}
    broken: dict[str, str] = {}
    with ExitStack() as stack:

        def load(origin: Origin) -> None:
            if origin.place not in loaded:
                entries = _entries(origin)
                _check_names(entries, origin)
                stack.enter_context(_in_catalogs(entries, origin))
                names = {kind: [entry.name for entry in found] for kind, found in entries.items()}
                loaded[origin.place] = Plugin(origin=origin, names=names)

        for name in asked:
            try:
                load(origin_of(name))
            except Broken as problem:
                raise UsageError(f"--plugin {name}: {problem}") from problem
        for point in entry_points(group=PLUGINS):
            home = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
            try:
                if point.attr:
                    raise Broken(f"{point.value} is not a module; the entry point must name one")
                load(origin_of(point.module))
            except Broken as problem:
                broken[f"{point.name}{home}"] = str(problem)
        yield Plugins(loaded=tuple(loaded.values()), broken=broken)


@contextmanager
def registered(places: Mapping[str, str]) -> Iterator[None]:
    """Within the block, a worker's catalogs include the plugins of its command.

    Args:
        places: Path or module of each plugin, by its origin as text.

    Raises:
        Unavailable: A plugin is missing, or has changed.
    """
    with ExitStack() as stack:
        for expected, place in places.items():
            try:
                origin = origin_of(place)
                if str(origin) != expected:
                    raise Broken("it was changed in the meantime; run the command again")
                entries = _entries(origin)
            except Broken as problem:
                name = expected.rpartition(" ")[0]
                raise Unavailable(f"the plugin {name} cannot be used: {problem}") from problem
            stack.enter_context(_in_catalogs(entries, origin))
        yield


@contextmanager
def _in_catalogs(entries: Mapping[str, Sequence[Any]], origin: Origin) -> Iterator[None]:
    for kind, catalog in registry.CATALOGS.items():
        catalog.register(entries.get(kind, ()), origin)
    own = {entry.name: (_guarded(entry, origin), origin) for entry in entries.get("grids", ())}
    grids.PLUGIN_GRIDS.update(own)
    registry.PLUGINS.append(origin)
    try:
        yield
    finally:
        registry.PLUGINS.remove(origin)
        for catalog in registry.CATALOGS.values():
            catalog.unregister(origin)
        for name in own:
            del grids.PLUGIN_GRIDS[name]


def _guarded(entry: Grid, origin: Origin) -> Grid:
    """The grid, with its errors reported as the plugin's."""

    def cells(config: GridConfig) -> list[Cell]:
        what = f"the grid {entry.name!r} of {origin.name}"
        try:
            found = list(entry.cells(config))
        except Exception as error:
            raise UsageError(f"{what} fails: {type(error).__name__}: {error}") from error
        if not found or not all(isinstance(cell, Cell) for cell in found):
            raise UsageError(f"{what} must return cells, got {found[:1] or 'none'}")
        return found

    return replace(entry, cells=cells)


def origin_of(name: str) -> Origin:
    """Where a plugin (a file or module) is, with a digest of its source, which is not run."""
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # too long, not permitted, no such user
        raise Broken(f"it cannot be read: {getattr(error, 'strerror', error)}") from error
    is_path = name.endswith(".py") or os.sep in name
    if is_folder and (is_path or not _MODULE.fullmatch(name)):
        raise Broken("it is a folder; name a file in it, or a module that can be imported")
    if is_path or is_file:
        file_name = re.sub(r"[^\w.-]", "_", path.name)
        return Origin(name=file_name, digest=_digest([_read(path)]), place=str(path.absolute()))
    if not _MODULE.fullmatch(name):
        raise Broken("there is no such file, and it is not a module name")
    return Origin(name=name, digest=_digest(_sources(_top_spec(name))), place=name)


def _top_spec(name: str) -> ModuleSpec:
    """The spec of a module's top-level package, as modules of a package use each other."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        try:
            spec = importlib.util.find_spec(".".join(parts[:length]))
        except (ImportError, ValueError):  # the parent is not a package; a module without a spec
            spec = None
        if spec is None:
            break
        if spec.origin is not None and (spec.has_location or length == len(parts)):
            return spec
    raise Broken("there is no such file, and no module of that name can be imported")


def _sources(spec: ModuleSpec) -> Iterator[bytes]:
    """Names and contents of a package's source files, or the content of a module's file."""
    file = Path(str(spec.origin))
    if not file.is_file():
        raise Broken("its source is not a file, so its versions cannot be distinguished")
    if not spec.submodule_search_locations:
        yield _read(file)
        return
    for path in sorted(file.parent.rglob("*")):
        if path.name.endswith(_SUFFIXES) and path.is_file():
            yield os.fsencode(path.relative_to(file.parent))
            yield _read(path)


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise Broken("there is no such file") from error
    except StrangeFile as error:
        raise Broken(str(error)) from error
    except (OSError, ValueError) as error:  # also a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise Broken(f"it cannot be read: {reason}") from error


def _digest(parts: Iterator[bytes] | list[bytes]) -> str:
    """16 hexadecimal digits over the parts and their lengths."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _import(origin: Origin) -> ModuleType:
    """The plugin's module; Broken if it cannot be imported, or has changed since `origin`."""
    with _printing_to_stderr():
        path = Path(origin.place)
        if not path.is_absolute():
            return importing.load(origin.place)
        source = _read(path)
        if _digest([source]) != origin.digest:
            raise Broken("it was changed while it was read; run the command again")
        stem = re.sub(r"\W", "_", path.stem)
        name = f"plugin_{stem}_{origin.digest}"
        return importing.load(name, partial(importing.execute, path=origin.place, source=source))


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Redirects standard output to standard error, also for C libraries, to keep tables clean."""
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


def _entries(origin: Origin) -> dict[str, list[Any]]:
    """A plugin's own entries by kind; Broken if it has none, or one is malformed."""
    module = _import(origin)
    found: dict[str, list[Any]] = {}
    for kind, catalog in registry.CATALOGS.items():
        every = {id(entry): entry for entry in catalog.within(module)}  # two names for one object
        found[kind] = [entry for entry in every.values() if not _is_imported(catalog, entry)]
    known = list(grids.grids().values())
    own = [value for value in vars(module).values() if isinstance(value, Grid)]
    found["grids"] = [grid for grid in own if grid not in known]
    found = {kind: entries for kind, entries in found.items() if entries}
    if not found:
        raise Broken(
            "it defines no entry: entries are objects of Architecture, Optimizer, Augmentation, "
            "Library or Grid at module level"
        )
    for entries in found.values():
        for entry in entries:
            _check(entry)
    return found


def _is_imported(catalog: Catalog[Any], entry: Any) -> bool:
    """Whether an entry in a plugin's module comes from the suite or another plugin."""
    if catalog.origin(entry.name) is not None and catalog.get(entry.name) is entry:
        return True
    homes = [module for name, module in sys.modules.items() if name.startswith(catalog.package)]
    return any(value is entry for home in homes for value in list(vars(home).values()))


def _check(entry: Any) -> None:
    """Raises Broken for an entry that would fail only when it is used."""
    check_named(entry)
    what = f"the {type(entry).__name__} {entry.name}"
    build = getattr(entry, "cells" if isinstance(entry, Grid) else "build", None)
    if build is not None and not callable(build):
        raise Broken(f"{what} cannot be built: {build!r} is not callable")
    version = getattr(entry, "version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise Broken(f"the version of {what} is not a whole number: {version!r}")
    from pipelines.base import Library  # late: imports torch, which quick commands need not
    from pipelines.building import can_be_spelled

    if isinstance(entry, Library) and not can_be_spelled(entry.name):
        raise Broken(f"{what} needs a name of lower-case letters, digits and '_'")


def _check_names(entries: Mapping[str, Sequence[Any]], origin: Origin) -> None:
    """Raises Broken if an entry's name is taken."""
    for kind, own in entries.items():
        names = [entry.name for entry in own]
        for name in names:
            home = grids.home(name) if kind == "grids" else registry.CATALOGS[kind].home(name)
            if names.count(name) > 1:
                home = f"another one in {origin.name}"
            if home:
                raise Broken(
                    f"the name {name!r} of its {kind.removesuffix('s')} is taken by {home}; "
                    "give one of the two another name"
                )
