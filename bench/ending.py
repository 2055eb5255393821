"""How a process ends that has torch in it: at once. Python takes a second to take it apart."""

import atexit
import os
import sys
from collections.abc import Callable


def ending_at_once(command: Callable[[], None]) -> None:
    """Runs a whole program, after which nothing is taken apart.

    Whatever others want done at exit is done before, and what is still to be printed is printed. A
    program that ends by any other error than SystemExit with a number ends as Python ends it.
    """
    codes: list[int] = []
    atexit.register(_end, codes)  # the first to be registered is the last to be called
    try:
        command()
        codes.append(0)
    except SystemExit as error:
        if isinstance(error.code, int):
            codes.append(error.code)
        raise


def _end(codes: list[int]) -> None:
    if not codes:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # Python has its own way with a reader that is gone
        return
    os._exit(codes[0])


__all__ = ["ending_at_once"]
