"""How a verb ends: with what it made, or with one sentence and the exit code that fits it."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import typer

from bench.errors import UsageError
from bench.outlet import into_nothing
from bench.printable import in_one_line

ResultT = TypeVar("ResultT")


def guarded(work: Callable[[], ResultT], *, debug: bool) -> ResultT:
    """Runs `work`; an error meant for people ends the command with one sentence and exit code 2."""
    try:
        return work()
    except KeyboardInterrupt:
        fail("interrupted", code=130)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # whoever read along has seen enough
            raise
        if isinstance(error, people_errors()):
            fail(str(error), code=2)
        surroundings = _of_surroundings(error)
        if surroundings:
            fail(surroundings, code=2)
        fail(f"{type(error).__name__}: {error} (a fault of the suite; --debug shows where)", code=1)


def with_room_for_output(command: Callable[[], None]) -> None:
    """Runs a command; a disk that is full under its standard output ends it with one sentence."""
    try:
        command()
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or error.filename:
            raise
        into_nothing(sys.stdout)
        typer.echo(
            f"bench: the output cannot be written: {error.strerror}; write it elsewhere", err=True
        )
        sys.exit(2)


def _of_surroundings(error: Exception) -> str:
    """A sentence for an error that the machine made, not the suite; "" for others."""
    if isinstance(error, ImportError):
        module = (error.name or "").partition(".")[0]
        ours = module in ("bench", "pipelines", "architectures")
        return "" if ours else f"a library cannot be imported ({error}): see bench doctor"
    if isinstance(error, OSError) and error.strerror and error.filename:
        where = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return (
            f"{where} cannot be used: {error.strerror}; permit it or name another file or folder "
            "(--debug shows where it was wanted)"
        )
    return ""


def people_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is one sentence for people. Those of unused modules are not imported."""
    named = {
        "bench.files": ["StoreError"],
        "bench.record_text": ["RecordError"],
        "bench.report.columns": ["TableError"],
        "pipelines.sources.errors": ["SourceError"],
        "pipelines.catalog": ["UnknownName", "Unavailable"],
        "pipelines.base": ["Unsupported"],
    }
    found: list[type[Exception]] = [UsageError]
    for module, names in named.items():
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


def fail(message: str, *, code: int) -> NoReturn:
    """Prints one sentence on standard error and ends the command."""
    typer.echo(f"bench: {in_one_line(message)}", err=True)
    raise typer.Exit(code)
