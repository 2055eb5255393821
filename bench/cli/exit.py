"""How a verb ends: with what it made, or with one sentence and the exit code that fits it.

Standard output whose reader may go away: a closed terminal, `| head`.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO, TypeVar

import typer

from bench.errors import UsageError
from bench.process import signals_allowed
from bench.text import in_one_line

GONE = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal


class Outlet(io.TextIOBase):
    """Writes at once. When the reader is gone the command is asked to stop, as by Ctrl-C.

    What is still to be said then goes to standard error, and nowhere if nobody reads that either;
    likewise after a stop while a reader was waited for. Under nohup the command goes on.

    Args:
        file: Over a descriptor of the system.
    """

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the file."""
        return self._file.encoding if self._file else "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._file is not None and self._file.isatty()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Writes and flushes; a stop is heard while a reader that does not read is waited for."""
        while self._file is not None:
            try:
                with signals_allowed(earlier=False):
                    self._file.write(text)
                    self._file.flush()
                break
            except KeyboardInterrupt:  # the reader may be one that never reads again
                self._turn_away(self._file)
                raise
            except OSError as error:
                if error.errno not in GONE:
                    raise
                first = self._file is not sys.__stderr__
                self._turn_away(self._file)
                if first and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                    signal.raise_signal(signal.SIGINT)
        return len(text)

    def _turn_away(self, file: TextIO) -> None:
        into_nothing(file)
        self._file = None if file is sys.__stderr__ else sys.__stderr__


def into_nothing(file: TextIO) -> None:
    """From now on a file's descriptor takes everything and keeps nothing."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, file.fileno())  # takes what is still buffered, now or when Python ends
    os.close(nothing)


ResultT = TypeVar("ResultT")


def run_verb(work: Callable[[], ResultT], *, debug: bool) -> ResultT:
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
        if isinstance(error, user_errors()):
            fail(str(error), code=2)
        surroundings = _of_surroundings(error)
        if surroundings:
            fail(surroundings, code=2)
        fail(f"{type(error).__name__}: {error} (a fault of the suite; --debug shows where)", code=1)


def call_app(command: Callable[[], None]) -> None:
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


def user_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is one sentence for people. Those of unused modules are not imported."""
    named = {
        "bench.store.files": ["StoreError"],
        "bench.store.codec": ["RecordError"],
        "bench.report.render": ["TableError"],
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
