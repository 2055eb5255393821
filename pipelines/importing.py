"""Imports a module that anybody may have dropped in: whatever it does, others can still be used."""

import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

LONGEST_S = 120.0  # the first import of a large library from a slow disk takes a minute
AGAIN_S = 1.0


class Broken(Exception):
    """A module that cannot be imported; the message says why, in one line."""


class _TooLong(BaseException):
    """No `except Exception` of the module's own takes it for one of its errors."""


def load(name: str, by: Callable[[str], ModuleType] = importlib.import_module) -> ModuleType:
    """The module called `name`.

    Args:
        name: Dotted.
        by: Imports it.

    Raises:
        Broken: It raises an error, ends the program, or does not come to an end.
    """
    try:
        with _limited():
            return by(name)
    except KeyboardInterrupt:
        raise
    except _TooLong as error:
        raise Broken(f"its import did not end within {LONGEST_S:g} s") from error
    except SystemExit as error:
        raise Broken(f"it ends the program when it is imported (SystemExit: {error})") from error
    except BaseException as error:  # tests and libraries have outcomes of their own
        said = " ".join(str(error).split())
        raise Broken(f"{type(error).__name__}: {said}" if said else type(error).__name__) from error


@contextmanager
def _limited() -> Iterator[None]:
    """The block gets `LONGEST_S`, where the system can interrupt it and nobody else does so."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


__all__ = ["Broken", "load"]
