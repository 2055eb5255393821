"""Finds a plugin's source, names it by what is in it, and imports it."""

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from bench.files import StrangeFile, read_file
from pipelines import importing
from pipelines.catalog import Origin
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


__all__ = ["Broken", "module_of", "origin_of"]
