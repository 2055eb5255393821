"""Finds one run among the records of a results folder, by its id or its name."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.printable import legible
from bench.record import Record
from bench.store import Store, groups

CANDIDATES = 8  # that a message names; the rest is counted


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run and where it is.

    Args:
        record: Its record.
        store: The group that holds it.
        earlier: Records of earlier attempts, oldest first.
    """

    record: Record
    store: Store
    earlier: list[Record]

    @property
    def root(self) -> Path:
        """The results folder that holds the group."""
        return self.store.folder.parent


def find(root: Path, wanted: str, on_warning: Callable[[str], None] | None = None) -> Found:
    """The run whose id or name is `wanted`, or the only one with an id that begins so or a name
    that holds it.

    Args:
        root: A results folder, or one group in it.
        wanted: An id, a name, or a part of one.
        on_warning: Is told of damaged records.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
        UsageError: No run is meant, or several are; the message names those that might be.
    """
    known: list[tuple[Record, Store]] = []
    for group in groups(root):
        store = Store(group.folder)
        warned = {"on_warning": on_warning} if on_warning else {}
        known += [(record, store) for record in store.records(**warned, legibly=True)]
    if not known:
        raise UsageError(f"there are no records under {root}: `bench run` makes some")
    for test in (_is_it, _begins_so, _holds_it):
        found = [pair for pair in known if test(pair[0], wanted)]
        if len(found) > 1:
            raise UsageError(_ambiguous(wanted, found))
        if found:
            record, store = found[0]
            return Found(record=record, store=store, earlier=_earlier(store, record))
    raise UsageError(_unknown(root, wanted, known))


def _earlier(store: Store, record: Record) -> list[Record]:
    return [legible(earlier) for earlier in store.attempts(record.run_id)]


def _is_it(record: Record, wanted: str) -> bool:
    return wanted in (record.run_id, record.name)


def _begins_so(record: Record, wanted: str) -> bool:
    return bool(wanted) and record.run_id.startswith(wanted)


def _holds_it(record: Record, wanted: str) -> bool:
    return wanted in record.name


def _ambiguous(wanted: str, found: Sequence[tuple[Record, Store]]) -> str:
    if len({record.run_id for record, _ in found}) == 1:
        folders = ", ".join(str(store.folder) for _, store in found)
        return f"{wanted!r} is in several groups, name one after it: {folders}"
    named = [f"{record.name} ({record.run_id[:8]})" for record, _ in found[:CANDIDATES]]
    more = f" and {len(found) - CANDIDATES} more" if len(found) > CANDIDATES else ""
    return f"{wanted!r} may mean {len(found)} runs, say more of one: {', '.join(named)}{more}"


def _unknown(root: Path, wanted: str, known: Sequence[tuple[Record, Store]]) -> str:
    names = sorted({record.name for record, _ in known})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    return (
        f"no run under {root} has {wanted!r} in its name or at the beginning of its id: "
        f"there are {len(known)}, like {', '.join(near)}"
    )


__all__ = ["Found", "find"]
