"""What ran, how long, and how it ended: `selfcheck.json` in the group's folder."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.store.codec import strict
from bench.store.files import StoreError, StrangeFile, read_file, write_atomically

FILE = "selfcheck.json"
SCHEMA_VERSION = 1
LARGEST = 16 * 2**20  # bytes

Status = Literal["ok", "failed", "stopped", "interrupted", "skipped", "not begun"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one task ended.

    Args:
        part: The part it belongs to.
        task: Its name; unique among all parts.
        status: "stopped" is at the end of its time, "interrupted" from outside.
        said: One sentence: what came out, or why not.
        command: As a person would type it.
        seconds: That it took.
        tail: The end of what it printed, if it did not end well.
        started: When.
        code: Digest of the code that ran, whether it was committed or not.
    """

    part: str
    task: str
    status: Status
    said: str = ""
    command: str = ""
    seconds: float = 0.0
    tail: tuple[str, ...] = ()
    started: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of the command.

    Args:
        started: When.
        budget_s: It was to take no longer.
        seconds: That it took.
        tasks: What it began.
        interrupted: Whether it was stopped from outside.
        environment: Machine and software.
    """

    started: str
    budget_s: float
    seconds: float = 0.0
    tasks: tuple[str, ...] = ()
    interrupted: bool = False
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """All calls for one machine, source and scale, and the last outcome of each task."""

    device: str
    source: str
    scale: str
    calls: tuple[Call, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def with_outcome(self, outcome: Outcome) -> "Journal":
        """With this outcome in the place of an earlier one of the same task."""
        others = [one for one in self.outcomes if one.task != outcome.task]
        return replace(self, outcomes=(*others, outcome))

    def only(self, tasks: Collection[str]) -> "Journal":
        """Without the outcomes of tasks that there are no more."""
        return replace(self, outcomes=tuple(one for one in self.outcomes if one.task in tasks))

    def last(self, task: str) -> Outcome | None:
        """The last outcome of a task."""
        return next((one for one in self.outcomes if one.task == task), None)


def read(folder: Path) -> Journal | None:
    """The journal of a group; None if there is none yet.

    Raises:
        StoreError: It cannot be read, or is none of this version.
    """
    path = folder / FILE
    advice = "move it away to begin anew"
    try:
        found = msgspec.json.decode(read_file(path, LARGEST), type=Journal, strict=True)
    except FileNotFoundError:
        return None
    except (OSError, StrangeFile, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}; {advice}") from error
    if found.schema_version != SCHEMA_VERSION:
        raise StoreError(f"{path} is of version {found.schema_version}, not 1: {advice}")
    return found


def write(folder: Path, journal: Journal) -> None:
    """Writes it whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    plain = strict(msgspec.to_builtins(journal, enc_hook=str))
    text = msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"
    write_atomically(folder / FILE, text)
