"""Imports modules that may fail, exit or hang without affecting the others."""

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, ModuleType

IMPORT_TIMEOUT_S = 120.0  # a large library on a slow disk takes a minute the first time
REPEAT_S = 1.0  # in case the module catches the first exception

_executed: dict[str, tuple[str, bytes]] = {}  # module name to path and source


class Broken(Exception):
    """A module can't be imported; the message says why, in one line."""


class _TooLong(BaseException):
    """A BaseException, so that no `except Exception` in the module catches it."""


def load(name: str, by: Callable[[str], ModuleType] = importlib.import_module) -> ModuleType:
    """Imports the module called `name` with the function `by`.

    Raises:
        Broken: It raises an error, exits, or doesn't finish in time.
    """
    try:
        with _limited():
            return by(name)
    except KeyboardInterrupt:
        raise
    except _TooLong as error:
        raise Broken(f"its import did not finish within {IMPORT_TIMEOUT_S:g} s") from error
    except SystemExit as error:
        raise Broken(f"it ends the program when it is imported (SystemExit: {error})") from error
    except BaseException as error:  # pytest and others define base exceptions
        text = " ".join(str(error).split())
        raise Broken(f"{type(error).__name__}: {text}" if text else type(error).__name__) from error


def execute(name: str, path: str, source: bytes) -> ModuleType:
    """Runs a file as a module, without writing bytecode next to it."""
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # needed by dataclasses and pickle
    try:
        exec(compile(source, path, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    _executed[name] = path, source
    return module


class Executed:
    """Pickle it before objects of modules from `execute`: unpickling it creates these modules."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[object, ...]]:
        return _execute_missing, (_executed,)


def _execute_missing(executed: Mapping[str, tuple[str, bytes]]) -> None:
    for name, (path, source) in executed.items():
        if name not in sys.modules:
            execute(name, path, source)


@contextmanager
def _limited() -> Iterator[None]:
    """Interrupts the block after `IMPORT_TIMEOUT_S`, in the main thread if SIGALRM is unused."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, IMPORT_TIMEOUT_S, REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
