"""Imports what takes seconds in a thread, beside other waiting."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


@contextmanager
def importing(library: str) -> Iterator[None]:
    """The library is imported when the block is left.

    One that cannot be imported is no error here: whoever needs it will tell.
    """

    def import_it() -> None:
        with suppress(Exception):
            importlib.import_module(library)

    meanwhile = Thread(target=import_it, daemon=True)
    meanwhile.start()
    try:
        yield
    finally:
        meanwhile.join()  # an interpreter that ends in the midst of it crashes


__all__ = ["importing"]
