"""A simulated process that dies between two system calls, and a disk that loses unsynced data.

All calls go to the real file system; what a power cut could still take back is recorded beside it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "close", "replace", "rename", "unlink", "mkdir")


class Died(BaseException):
    """The simulated process is dead: its further calls have no effect."""


@dataclass
class Disk:
    """System calls on files below a folder; they end after `left` calls and can be undone."""

    folder: Path
    left: int | None = None
    dead: bool = False
    # Unsynced changes of names: their folder, and a function that undoes each.
    named: list[tuple[Path, Callable[[], None]]] = field(default_factory=list)
    unsettled: set[int] = field(default_factory=set)  # inodes of files with unsynced content
    paths: dict[int, Path] = field(default_factory=dict)  # by descriptor
    real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def call(self, name: str, *arguments: Any, **more: Any) -> Any:
        """Carries out a call, unless the process is dead or dies just before it."""
        path = self._path(name, arguments[0])
        if path is None:
            return self.real[name](*arguments, **more)
        if self.dead and name == "close":
            return self.real[name](*arguments)  # the system does so for a dead process
        if not self.dead and self.left is not None:
            self.left -= 1
            self.dead = self.left < 0
        if self.dead:
            raise Died
        undo = self._undo(name, path, arguments)
        found = self.real[name](*arguments, **more)
        self._note(name, path, arguments, found, undo)
        return found

    def _path(self, name: str, first: Any) -> Path | None:
        path = self.paths.get(first) if isinstance(first, int) else Path(first)
        return path if path is not None and path.is_relative_to(self.folder) else None

    def _undo(self, name: str, path: Path, arguments: Any) -> Callable[[], None] | None:
        if name == "open" and arguments[1] & os.O_CREAT and not path.exists():
            return lambda: path.unlink(missing_ok=True)
        if name == "mkdir" and not path.exists():
            return lambda: shutil.rmtree(path, ignore_errors=True)
        if name == "unlink" and path.exists():
            content = path.read_bytes()
            return lambda: _put(path, content)
        if name in ("replace", "rename"):
            target = Path(arguments[1])
            before = target.read_bytes() if target.exists() else None
            return lambda: _renamed_back(path, target, before)
        return None

    def _note(
        self, name: str, path: Path, arguments: Any, found: Any, undo: Callable[[], None] | None
    ) -> None:
        if name == "open":
            self.paths[found] = path
            if undo is not None:
                self.unsettled.add(os.fstat(found).st_ino)
        if name == "close":
            del self.paths[arguments[0]]
        if name == "fsync":
            self.unsettled.discard(os.fstat(arguments[0]).st_ino)
            self.named = [entry for entry in self.named if entry[0] != path]
        if undo is not None:
            self.named.append((path.parent, undo))

    def cut_power(self, kept: int, share: float) -> None:
        """Undoes all but `kept` unsynced changes of names; keeps a share of unsynced contents."""
        for _, undo in reversed(self.named[kept:]):
            undo()
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unsettled:
                content = path.read_bytes()
                path.write_bytes(content[: int(len(content) * share)])
        self.named.clear()
        self.unsettled.clear()

    def revive(self) -> None:
        """Starts another process; the files of the dead one are closed."""
        self.left, self.dead = None, False
        self.paths.clear()

    @contextmanager
    def watched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                self.real[name] = getattr(os, name)
                patch.setattr(os, name, self._between(name))
            yield

    def _between(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **more: self.call(name, *arguments, **more)


def _put(path: Path, content: bytes) -> None:
    if path.parent.is_dir():
        path.write_bytes(content)


def _renamed_back(source: Path, target: Path, before: bytes | None) -> None:
    if target.exists() and source.parent.is_dir():
        target.rename(source)
    if before is not None and target.parent.is_dir():
        target.write_bytes(before)
