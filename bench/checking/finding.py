"""One thing that `bench check` found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["wrong", "stale", "mended", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A file that is not as it should be, or that is worth knowing of.

    Args:
        level: "wrong" cannot be mended here; "stale" can be made anew from the records, and was
            not; "mended" was; "note" is no fault.
        path: The file or folder.
        problem: What is the matter, in a few words.
        advice: What to do; "" for nothing.
    """

    level: Level
    path: Path
    problem: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.level:<6} {self.path}: {self.problem}{advice}"


__all__ = ["Finding", "Level"]
