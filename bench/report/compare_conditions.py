"""What follows "@" in a side: which records of a folder are meant, by what they tell of their run.

commit=3145b0a              its beginning, four digits or more
torch=2.14                  a version or its beginning: 2.14.1, not 2.140
machine=epyc                a part of the machine's name
date=2026-11-25             a day, a month (2026-11) or an hour (2026-11-25T10), in UTC
date=2026-11-01..2026-11-20 from one to the other, either may be left out
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.errors import UsageError
from bench.files import slug
from bench.record import Record
from pipelines.catalog import unknown_name

MOST_KNOWN = 6  # values that a message names
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?")
_COMMIT = re.compile(r"[0-9a-f]{4,40}")


@dataclass(frozen=True, kw_only=True)
class Filed:
    """A record and the name of the machine that its group is filed under."""

    record: Record
    machine: str


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition on the records of a side, compared by what was typed."""

    key: str
    value: str

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.key}={self.value}"

    def keep(self, filed: Iterable[Filed]) -> list[Filed]:
        """The records that fulfil it.

        Raises:
            UsageError: There is none; the message says what there is.
        """
        found = list(filed)
        kept = [one for one in found if _TESTS[self.key](one, self.value)]
        if not kept:
            counts = Counter(_VALUES[self.key](one) or "unknown" for one in found)
            there = [f"{value} ({number})" for value, number in sorted(counts.items())]
            more = f" and {len(there) - MOST_KNOWN} more" if len(there) > MOST_KNOWN else ""
            raise UsageError(
                f"no record has {self.text}: there are {', '.join(there[:MOST_KNOWN])}{more}"
            )
        return kept


def conditions(typed: str, text: str) -> tuple[Condition, ...]:
    """Reads "KEY=VALUE,KEY=VALUE"; none for an empty text.

    Args:
        typed: The whole side, for messages.
        text: What follows the folder's "@".

    Raises:
        UsageError: A condition is malformed or unknown.
    """
    return tuple(_condition(typed, part.strip()) for part in text.split(",")) if text else ()


def _condition(typed: str, text: str) -> Condition:
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise UsageError(
            f"{typed!r} is malformed at {text!r}: after @ stand KEY=VALUE, with commas between "
            f"them and {', '.join(_TESTS)} as keys; choose cells with -a, -b and -k"
        )
    if key not in _TESTS:
        raise UsageError(f"{typed!r}: {unknown_name('condition', key, list(_TESTS))}")
    if key == "commit" and not _COMMIT.fullmatch(value):
        raise UsageError(
            f"{typed!r}: a commit is its first 4 to 40 digits of 0-9a-f, got {value!r}"
        )
    if key == "date":
        _check_date(typed, value)
    return Condition(key=key, value=value)


def _check_date(typed: str, value: str) -> None:
    bounds = value.split("..")
    if len(bounds) > 2 or not any(bounds) or not all(_DATE.fullmatch(b) for b in bounds if b):
        raise UsageError(
            f"{typed!r}: a date is 2026-11-25, 2026-11 or 2026-11-25T10, or two of them with .. "
            f"between, got {value!r}"
        )


def _commit(filed: Filed) -> str:
    return str(filed.record.environment.get("commit") or "")


def _torch(filed: Filed) -> str:
    return str(filed.record.environment.get("torch") or "")


def _is_version(filed: Filed, value: str) -> bool:
    found = _torch(filed)
    return found.startswith(value) and not found[len(value) : len(value) + 1].isalnum()


def _is_machine(filed: Filed, value: str) -> bool:
    known = filed.record.environment
    names = (filed.machine, str(known.get("gpu") or ""), str(known.get("cpu") or ""))
    return bool(slug(value)) and any(slug(value) in slug(name) for name in names)


def _is_date(filed: Filed, value: str) -> bool:
    bounds: Sequence[str] = value.split("..")
    first, last = bounds[0], bounds[-1]
    started = filed.record.started
    return started[: len(first)] >= first and (not last or started[: len(last)] <= last)


_TESTS: dict[str, Callable[[Filed, str], bool]] = {
    "commit": lambda filed, value: _commit(filed).startswith(value),
    "machine": _is_machine,
    "torch": _is_version,
    "date": _is_date,
}
_VALUES: dict[str, Callable[[Filed], str]] = {
    "commit": lambda filed: _commit(filed)[:7],
    "machine": lambda filed: filed.machine,
    "torch": _torch,
    "date": lambda filed: filed.record.started[:10],
}


__all__ = ["Condition", "Filed", "conditions"]
