"""Standard output whose reader may go away: a closed terminal, `| head`."""

import errno
import io
import os
import signal
import sys
from typing import TextIO

from bench.signals import stops_let_through

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
                with stops_let_through(earlier=False):
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


__all__ = ["Outlet", "into_nothing"]
