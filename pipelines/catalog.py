"""Finds entries: frozen objects at module level, one file each, in a package folder.

Adding an entry is adding a file; nothing lists them by hand. A file that cannot be imported stays
in the catalog with its reason, so one broken file never hides the others.
"""

import contextlib
import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What every entry has: the name people type."""

    @property
    def name(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Named)


class UnknownName(LookupError):
    """A name no entry has; the message suggests the nearest ones."""


class Unavailable(RuntimeError):
    """An entry that exists but cannot be used here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Catalog(Generic[EntryT]):
    """The entries of one type found in the modules of one package.

    Args:
        package: Dotted name of the package whose modules are looked through.
        entry_type: Objects of this type, bound at module level, are the entries.
        noun: What one entry is called in messages ("architecture").
    """

    package: str
    entry_type: type[EntryT]
    noun: str

    @cached_property
    def _scan(self) -> tuple[dict[str, EntryT], dict[str, str]]:
        entries: dict[str, EntryT] = {}
        broken: dict[str, str] = {}
        folder = importlib.import_module(self.package)
        for info in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
            try:
                module = importlib.import_module(f"{self.package}.{info.name}")
            except Exception as error:  # noqa: BLE001 - any fault of one file must not hide the rest
                broken[info.name] = f"{type(error).__name__}: {error}"
                continue
            for value in vars(module).values():
                if not isinstance(value, self.entry_type):
                    continue
                if entries.setdefault(value.name, value) is not value:
                    broken[info.name] = f"the name {value.name!r} is taken by another file"
        return entries, broken

    @property
    def entries(self) -> Mapping[str, EntryT]:
        """Usable entries by name, in the order of their files."""
        return self._scan[0]

    @property
    def broken(self) -> Mapping[str, str]:
        """File name (no ending) to the reason why it could not be imported."""
        return self._scan[1]

    def get(self, name: str) -> EntryT:
        """The entry called `name`.

        Raises:
            Unavailable: A file of that name exists but cannot be imported.
            UnknownName: No entry has that name.
        """
        with contextlib.suppress(Exception):  # a file named like its entry spares the others
            own = importlib.import_module(f"{self.package}.{name}")
            for value in vars(own).values():
                if isinstance(value, self.entry_type) and value.name == name:
                    return value
        if name in self.entries:
            return self.entries[name]
        if name in self.broken:
            raise Unavailable(f"{self.noun} {name!r} cannot be used here: {self.broken[name]}")
        raise UnknownName(unknown_name(self.noun, name, self.entries))


def unknown_name(noun: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """The sentence for a name that nothing has: nearest names first, then all of them."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {noun} {name!r}: {hint}known are {', '.join(known)}"
