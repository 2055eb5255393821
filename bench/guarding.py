"""How a verb ends: with what it made, or with one sentence and the exit code that fits it."""

import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import typer

from bench.errors import UsageError
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
        if isinstance(error, people_errors()):
            fail(str(error), code=2)
        fail(f"{type(error).__name__}: {error} (a fault of the suite; --debug shows where)", code=1)


def people_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is one sentence for people. Those of unused modules are not imported."""
    named = {
        "bench.files": ["StoreError"],
        "bench.record": ["RecordError"],
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
