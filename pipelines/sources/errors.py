"""Errors of sources, and the type of functions that report their progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Report = Callable[[str], None]  # called with one line of text


class SourceError(RuntimeError):
    """A source isn't available; the message says why and what to do about it."""


class NotObtained(SourceError):
    """Every attempt to get a source failed.

    Args:
        reasons: Why each attempt failed, a few words each.
        advice: What the user can do, a sentence without its full stop.
    """

    def __init__(self, name: str, reasons: Sequence[str], advice: str) -> None:
        self.reason = "; ".join(reasons)
        super().__init__(f"{name} is not available: {self.reason}. {advice}.")


class AttemptFailed(Exception):
    """One attempt to get a source failed, another may work; the message is the reason."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError when writing `path` into a `SourceError`."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space or allow writing, or name another folder with --data-dir"
        ) from error


def listed(texts: Sequence[str], most: int = 10) -> str:
    """The first few texts with commas between them, and how many more there are."""
    more = [f"{len(texts) - most:,} more"] if len(texts) > most else []
    return ", ".join([*texts[:most], *more])
