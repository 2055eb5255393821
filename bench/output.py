"""Standard output that costs no run: what a full disk does not take of a log is dropped."""

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.RawIOBase):
    """Writes to a descriptor that is not its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: "ReadableBuffer") -> int:
        view = memoryview(data)
        with suppress(OSError):
            os.write(self._descriptor, view)
        return view.nbytes


def forgiving(descriptor: int) -> TextIO:
    """A text stream over a descriptor such as 1, whose writes never fail; flushed at each line."""
    raw = io.BufferedWriter(_Forgiving(descriptor))
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)


__all__ = ["forgiving"]
