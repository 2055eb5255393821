"""The command that the page offers to train a run again."""

from collections.abc import Iterable

from bench.record import Record
from bench.retyped import line, narrowed


def rerun(record: Record, names: Iterable[str] = ()) -> str:
    """The recorded command narrowed to this run; as it stands where it is not `bench run`.

    Args:
        record: Of any status.
        names: Of other cells, which may hold this one's name as a part.
    """
    words = narrowed(record, names)
    return line(words) if words else record.command


__all__ = ["rerun"]
