"""Catalogs: entries found as module-level objects in the files of a package.

To add an entry, add a file. A file that can't be imported stays in the catalog with the reason, so
one broken file doesn't hide the others.
"""

import contextlib
import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from pipelines import importing

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Named(Protocol):
    """What every entry has: its name, and one sentence on what it is for."""

    @property
    def name(self) -> str: ...
    @property
    def why(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Named)


class UnknownName(LookupError):
    """No entry has that name; the message suggests similar ones."""


class Unavailable(RuntimeError):
    """An entry exists but can't be used here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where entries from outside the package come from.

    Args:
        name: Name of the file or module, without folders.
        digest: Hash of its source, 16 hexadecimal digits.
        place: The file's full path, or the module's dotted name.
    """

    name: str
    digest: str
    place: str

    def __str__(self) -> str:
        return f"{self.name} {self.digest}"


@dataclass(frozen=True, kw_only=True)
class Catalog(Generic[EntryT]):
    """The entries of one type found in the modules of one package.

    Args:
        package: Dotted name of the package.
        entry_type: Type of the module-level objects that are entries.
        noun: What an entry is called in messages ("architecture").
    """

    package: str
    entry_type: type[EntryT]
    noun: str

    @cached_property
    def _scan(self) -> tuple[dict[str, EntryT], dict[str, str], dict[str, str]]:
        entries: dict[str, EntryT] = {}
        broken: dict[str, str] = {}
        homes: dict[str, str] = {}
        for file in self._files():
            try:
                found = self._entries_in(file)
            except importing.Broken as problem:
                broken[file] = str(problem)
                continue
            for entry in found:
                name = entry.name
                home = homes.setdefault(name, file)
                if entries.setdefault(name, entry) is entry:
                    if file == name:  # other files import it from here
                        entries[name], homes[name] = entries.pop(name), file
                elif file == name:  # this file takes precedence, as in `get`
                    entries[name], homes[name] = entry, file
                    broken[home] = _taken(name, file)
                else:
                    broken[file] = _taken(name, home)
        return entries, broken, homes

    def _files(self) -> list[str]:
        folder = importlib.import_module(self.package)
        names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
        return [name for name in names if not name.startswith("_")]  # those are shared code

    @cached_property
    def _imported(self) -> dict[str, list[EntryT] | importing.Broken]:
        """Entries or error of each imported file, so that a file that hangs is tried once."""
        return {}

    def _entries_in(self, file: str) -> list[EntryT]:
        """The entries of one file.

        Raises:
            Broken: It can't be imported, or an entry has no valid name.
        """
        if file not in self._imported:
            try:
                self._imported[file] = self.within(importing.load(f"{self.package}.{file}"))
            except importing.Broken as problem:
                self._imported[file] = problem
        result = self._imported[file]
        if isinstance(result, importing.Broken):
            raise result
        return result

    def within(self, module: ModuleType) -> list[EntryT]:
        """The entries of a module.

        Raises:
            Broken: One of them has no valid name.
        """
        entries = [value for value in vars(module).values() if isinstance(value, self.entry_type)]
        for entry in entries:
            check_named(entry)
        return entries

    @cached_property
    def _external(self) -> dict[str, tuple[EntryT, Origin]]:
        return {}

    def register(self, entries: Sequence[EntryT], origin: Origin) -> None:
        """Adds entries from outside the package, with unused names, until `unregister`."""
        self._external.update({entry.name: (entry, origin) for entry in entries})

    def unregister(self, origin: Origin) -> None:
        """Removes the entries of an origin."""
        for name in [name for name, (_, other) in self._external.items() if other is origin]:
            del self._external[name]

    def origin(self, name: str) -> Origin | None:
        """Where an entry comes from; None for the package's own."""
        return self._external[name][1] if name in self._external else None

    def home(self, name: str) -> str:
        """The file or origin that defines a name; "" if none does."""
        if name in self._external:
            return self._external[name][1].name
        file = self._scan[2].get(name) or (name if name in self.broken else "")
        return f"{self.package.replace('.', '/')}/{file}.py" if file else ""

    @property
    def entries(self) -> Mapping[str, EntryT]:
        """Usable entries by name, in the order of their files, then entries from outside."""
        return self._scan[0] | {name: entry for name, (entry, _) in self._external.items()}

    @property
    def is_scanned(self) -> bool:
        """Whether all files have been imported."""
        return "_scan" in vars(self)

    @property
    def broken(self) -> Mapping[str, str]:
        """File name (without suffix) to the reason why it couldn't be imported."""
        return self._scan[1]

    def get(self, name: str) -> EntryT:
        """The entry called `name`.

        Raises:
            Unavailable: A file of that name exists but cannot be imported.
            UnknownName: No entry has that name.
        """
        if name in self._external:
            return self._external[name][0]
        if name in self._files():
            with contextlib.suppress(importing.Broken):  # other files needn't be imported
                for entry in self._entries_in(name):
                    if entry.name == name:
                        return entry
        if name in self.entries:
            return self.entries[name]
        if name in self.broken:
            raise Unavailable(f"{self.noun} {name!r} cannot be used here: {self.broken[name]}")
        raise UnknownName(unknown_name(self.noun, name, self.entries))


def check_named(entry: Named) -> None:
    """Raises `Broken` if the name or `why` of an entry is invalid."""
    if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
        raise importing.Broken(
            f"an {type(entry).__name__} in it has the name {entry.name!r}; "
            "a name is letters, digits, '_', '-' and '.'"
        )
    if not isinstance(entry.why, str):
        raise importing.Broken(f"the `why` of {entry.name} is no sentence: {entry.why!r}")


def _taken(name: str, home: str) -> str:
    return f"the name {name!r} is taken by the file {home}.py; give one of the two another name"


def unknown_name(noun: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """The message for an unknown name: similar names first, then all of them."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {noun} {name!r}: {hint}known are {', '.join(known)}"
