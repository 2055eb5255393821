"""What a command is started in, made fit for it or refused in one sentence."""

import io
import os
import sys
from collections.abc import Sequence


def fit() -> None:
    """Makes output take any text, whatever the locale; what it cannot show is shown as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def problem(arguments: Sequence[str]) -> str:
    """Why no command can work here, in one sentence; "" when one can.

    Args:
        arguments: Of the command line.
    """
    try:
        os.getcwd()  # noqa: PTH109 - as it is, not as a path
    except OSError:
        return "the folder you are in is gone: change to another one with cd"
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            return (
                f"the argument {os.fsencode(argument)!r} is no text in this locale's encoding, "
                f"{sys.getfilesystemencoding()}: rename what it names, or set LC_ALL=C.UTF-8"
            )
    return ""


__all__ = ["fit", "problem"]
