"""What can go wrong with a source, told to people."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class SourceError(RuntimeError):
    """A source that cannot be had; the message says why and what to do about it."""


class NotObtained(SourceError):
    """Every way to a source failed.

    Args:
        name: Of the source.
        reasons: Why each way failed, a few words each.
        advice: What a person can do, a sentence without its full stop.
    """

    def __init__(self, name: str, reasons: Sequence[str], advice: str) -> None:
        self.reason = "; ".join(reasons)
        super().__init__(f"{name} cannot be had: {self.reason}. {advice}.")


class WayFailed(Exception):
    """One way to a source did not work, another may; the message is the reason in a few words."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write at `path` into a `SourceError`."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"cannot write {path}: {error.strerror or error}; "
            "make room or permit it, or name another folder with --data-dir"
        ) from error
