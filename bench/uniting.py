"""The records of one run from several folders, brought together in one: none is lost.

Records that differ in nothing but the number of their attempt are the same. Of different ones the
newest that ended well is the run's record, the others are among its attempts. In whatever step a
process that does this dies, doing it again has the same end: a record is written last of all that
belongs to it, and one that it replaces is among the attempts before.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import msgspec

from bench.belongings import Warn, belongings, copy, fill, replace
from bench.files import StoreError, explained, settle, write_atomically
from bench.locks import serialized
from bench.record import Record
from bench.record_files import read_whole, set_aside
from bench.record_text import RecordError, as_text, digest


@dataclass(frozen=True, kw_only=True)
class Found:
    """A record as it was found.

    Args:
        record: What it says.
        content: The bytes of its file.
        mark: Names what it says, whatever the number of its attempt.
        base: Folder of what belongs to it.
        present: Whether it is its run's record there, and no earlier attempt.
    """

    record: Record
    content: bytes
    mark: str
    base: Path
    present: bool


@dataclass(frozen=True, kw_only=True)
class United:
    """What was done.

    Args:
        name: Of the run.
        new: Whether the folder had no record of it.
        replaced: Whether it had another, which is among the attempts now.
        attempts: Records that came in among the attempts.
        filled: Whether files that belong to the record were lacking and came in.
        different: How many different records of it there are, attempts of old left out.
        identical: Whether several folders had the same one.
    """

    name: str
    new: bool
    replaced: bool
    attempts: int
    filled: bool
    different: int
    identical: bool

    @property
    def changed(self) -> bool:
        """Whether anything came in."""
        return self.new or self.replaced or self.attempts > 0 or self.filled


def records_in(group: Path, run_id: str = "*") -> list[Path]:
    """Files of the present and earlier records in a group, of one run or of all."""
    records = group / "records"
    earlier = "*.json" if run_id == "*" else f"{run_id}.*.json"
    return [
        *sorted(records.glob(f"{run_id}.json")),
        *sorted((records / ".attempts").glob(earlier)),
    ]


def found_in(group: Path, run_id: str, on_damage: Callable[[Path, str], None]) -> list[Found]:
    """The records of a run in a group, its present one first.

    Raises:
        StoreError: One cannot be read, or a newer version of the suite wrote it.
    """
    return [
        one
        for path in records_in(group, run_id)
        if (one := _found(path, group, on_damage)) is not None
    ]


def _found(path: Path, group: Path, on_damage: Callable[[Path, str], None]) -> Found | None:
    try:
        whole = read_whole(Record, path)
    except RecordError as error:
        on_damage(path, str(error))
        return None
    if whole is None:
        return None
    record, content = whole
    plain = msgspec.json.decode(content) | {"attempt": 0, "content_hash": ""}
    present = path.parent.name != ".attempts"
    return Found(
        record=record,
        content=content,
        mark=digest(plain),
        base=group if present else path.with_suffix(""),
        present=present,
    )


def unite(group: Path, incoming: Sequence[Found], warn: Warn) -> United | None:
    """Brings records of one run into a group, for who holds its lock; None where there are none.

    Args:
        group: Where to.
        incoming: Records of the run from elsewhere.
        warn: Is told of what is left out.

    Raises:
        StoreError: Something cannot be read or written.
    """
    if not incoming:
        return None
    records = group / "records"
    with serialized(records / ".lock"):
        here = found_in(
            group,
            incoming[0].record.run_id,
            lambda path, reason: warn(set_aside(path, records / ".quarantine", reason)),
        )
        # The same end in whatever order folders are named: of equal ones the first is taken.
        ordered = sorted(incoming, key=lambda one: (not one.present, one.record.attempt))
        return _Uniting(group=group, here=here, incoming=ordered, warn=warn).carry_out()


@dataclass(frozen=True, kw_only=True)
class _Uniting:
    """One run's records on their way."""

    group: Path
    here: Sequence[Found]
    incoming: Sequence[Found]
    warn: Warn

    def carry_out(self) -> United:
        every = [*self.here, *self.incoming]
        current = next((one for one in self.here if one.present), None)
        if current is not None and current.record.status == "skipped":
            current = None  # no attempt, and no reason to keep it beside one
        best = best_of(every)
        taken = _numbers(self.group, every[0].record.run_id)
        replaced = current is not None and current.mark != _mark(best)
        if replaced and current is not None and not self._kept(current.mark):
            taken.add(self._keep(current, _free(taken, current.record.attempt), _refuse))
        others = self._others(best)
        numbers: dict[str, int] = {}
        for one in others:
            numbers[one.mark] = _free(taken, one.record.attempt)
            taken.add(numbers[one.mark])
        filled = best is not None and self._place(best, taken)
        for one in others:
            self._keep(one, numbers[one.mark], self.warn)
        presents = [one.mark for one in every if one.present and one.record.status != "skipped"]
        return United(
            name=every[0].record.name,
            new=best is not None and best not in self.here and current is None,
            replaced=replaced,
            attempts=len(others),
            filled=filled,
            different=len(set(presents)),
            identical=len(set(presents)) < len(presents),
        )

    def _kept(self, mark: str) -> bool:
        """Whether it is among the attempts here."""
        return any(one.mark == mark and not one.present for one in self.here)

    def _others(self, best: Found | None) -> list[Found]:
        """What comes in and is not the run's record, oldest first."""
        known = {_mark(best), *(one.mark for one in self.here)}
        found = {
            one.mark: one
            for one in reversed(self.incoming)
            if one.record.status != "skipped" and one.mark not in known
        }
        return sorted(found.values(), key=_age)

    def _place(self, best: Found, taken: set[int]) -> bool:
        """Makes it the run's record, with the last number; whether it was, and lacked files."""
        was = any(one.present and one.mark == best.mark for one in self.here)
        if not was:
            replace(belongings(best.base, best.record), self.group, best.record, self.warn)
        filled = False
        for one in self.incoming:
            if one.mark == best.mark:
                found = belongings(one.base, one.record)
                filled |= fill(found, self.group, best.record, self.warn)
        again = [one for one in self.here if one.mark == best.mark and not one.present]
        last = max(taken - {one.record.attempt for one in again}, default=0)
        content = numbered(best.content, max(best.record.attempt, last + 1))
        path = self.group / "records" / f"{best.record.run_id}.json"
        if not was or content != best.content:
            write_atomically(path, content)
        for one in again:
            self._drop(one)
        return was and filled

    def _keep(self, one: Found, number: int, warn: Warn) -> int:
        """Puts a record among the attempts; its number."""
        path = self.group / "records" / ".attempts" / f"{one.record.run_id}.{number}.json"
        copy(belongings(one.base, one.record), path.with_suffix(""), warn)
        write_atomically(path, numbered(one.content, number))
        return number

    def _drop(self, one: Found) -> None:
        """Removes an attempt that has become the run's record."""
        with explained(f"remove {one.base}"):
            if one.base.is_dir() and not one.base.is_symlink():
                shutil.rmtree(one.base)
            one.base.with_name(f"{one.base.name}.json").unlink(missing_ok=True)
            settle(one.base.parent)


def best_of(found: Sequence[Found]) -> Found | None:
    """The newest that ended well, else the newest that is some folder's record of the run."""
    present = [one for one in found if one.present]
    for these in (
        [one for one in found if one.record.status == "ok"],
        [one for one in present if one.record.status != "skipped"],
        present,
    ):
        if these:
            return max(these, key=_age)
    return None


def numbered(content: bytes, attempt: int) -> bytes:
    """The record with another number; all else, also what this version does not know, stays."""
    plain = msgspec.json.decode(content)
    if plain.get("attempt", 1) == attempt:
        return content
    plain |= {"attempt": attempt, "content_hash": ""}
    return as_text(plain | {"content_hash": digest(plain)})


def _age(one: Found) -> tuple[float, str]:
    try:
        finished = datetime.fromisoformat(one.record.finished).timestamp()
    except (ValueError, OverflowError):  # never begun, or not written by the suite
        finished = 0.0
    return finished, one.mark


def _mark(one: Found | None) -> str:
    return one.mark if one else ""


def _numbers(group: Path, run_id: str) -> set[int]:
    """Numbers of all attempts, also of damaged ones: none is given again."""
    names = [path.name for path in (group / "records" / ".attempts").glob(f"{run_id}.*.json")]
    return {int(number) for name in names if (number := name.split(".")[1]).isdecimal()}


def _free(taken: set[int], wanted: int) -> int:
    """The number that is wanted if it is free, else the least that is."""
    return wanted if wanted not in taken else next(n for n in count(1) if n not in taken)


def _refuse(said: str) -> None:
    raise StoreError(f"{said}; nothing was replaced")


__all__ = ["Found", "United", "best_of", "found_in", "numbered", "records_in", "unite"]
