"""Selects parts of a grid: cells that match `-k`, and the runs of one shard."""

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import TypeVar

from bench.cell import Cell, Run
from bench.errors import UsageError
from bench.naming import labels_of
from bench.record import RecordT
from bench.text import count

OPERATORS = ("and", "or", "not")
_ENDS = (*OPERATORS, "(", ")")  # of a label
MAX_DEPTH = 50  # of nested brackets and nots
MAX_SHARDS = 10_000
_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_SEED = re.compile(r"/seed\d+$")  # at the end of a run's name
_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
K = TypeVar("K")


def select(
    cells: Sequence[Cell],
    expression: str,
    hint: Callable[[str], str] = lambda word: "",
    *,
    option: str = "-k",
) -> list[Cell]:
    """The cells that match `expression`; all of them if it is empty.

    Args:
        expression: Parts of names and whole labels ("25 epochs"), joined by and, or, not and
            brackets; or a name with labels in brackets: "cnn4/sgd/none/native (25 epochs)".
        hint: Advice about a word that no cell contains; "" for none.
        option: The command-line option that messages name.

    Raises:
        UsageError: The expression is malformed, contains a word of no cell, or matches nothing.
    """
    if not expression.strip():
        return list(cells)
    found = positions(
        [cell.name for cell in cells], lambda: [*map(labels_of, cells)], expression, hint, option
    )
    if not found:
        raise UsageError(f"{option} {expression!r} matches none of the {count(len(cells), 'cell')}")
    return [cells[position] for position in found]


def positions(
    names: Sequence[str],
    labels: Callable[[], Sequence[Collection[str]]],
    expression: str,
    hint: Callable[[str], str] = lambda word: "",
    option: str = "-k",
) -> list[int]:
    """Positions of what matches an expression: by a part of its name, else by a whole label.

    Args:
        labels: Gives the labels that belong to each name; called only where names do not suffice.

    Raises:
        UsageError: The expression is malformed, or a word is in no name and no label.
    """
    return sorted(_Parser(expression, names, labels, hint, option).parse())


def matching(
    groups: Mapping[K, Sequence[RecordT]], expression: str, *, option: str = "-k"
) -> dict[K, list[RecordT]]:
    """The records of each group whose cell matches, as in `select`; words of any group do."""
    if not (expression.strip() and any(groups.values())):  # avoids hashing thousands of cells
        return {group: list(records) for group, records in groups.items()}
    cells = list({record.cell: None for records in groups.values() for record in records})
    chosen = set(select(cells, expression, option=option))
    return {
        group: [record for record in records if record.cell in chosen]
        for group, records in groups.items()
    }


class _Parser:
    """Recursive descent (or, and, not, then a bracket or a word) to the positions that match."""

    def __init__(
        self,
        expression: str,
        names: Sequence[str],
        labels: Callable[[], Sequence[Collection[str]]],
        hint: Callable[[str], str],
        option: str,
    ) -> None:
        self._option = option
        self._expression = expression
        self._names = names
        self._read_labels = labels
        self._hint = hint
        self._tokens = _TOKEN.findall(expression.replace("'", " ").replace('"', " "))
        self._depth = 0

    @cached_property
    def _labels(self) -> Sequence[Collection[str]]:
        return self._read_labels()

    def parse(self) -> set[int]:
        found = self._or()
        if self._tokens:
            near = difflib.get_close_matches(self._tokens[0], OPERATORS, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise self._malformed(f"unexpected {self._tokens[0]!r}{hint}")
        return found

    def _or(self) -> set[int]:
        found = self._and()
        while self._take("or"):
            found |= self._and()
        return found

    def _and(self) -> set[int]:
        found = self._not()
        while self._take("and"):
            found &= self._not()
        return found

    def _not(self) -> set[int]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._malformed(f"it is nested more than {MAX_DEPTH} deep")
        if self._take("not"):
            found = set(range(len(self._names))) - self._not()
        else:
            found = self._bracket_or_word()
        self._depth -= 1
        return found

    def _bracket_or_word(self) -> set[int]:
        if self._take("("):
            found = self._or()
            if not self._take(")"):
                raise self._malformed("a bracket is not closed")
            return found
        if not self._tokens or self._tokens[0] in ("and", "or", ")"):
            raise self._malformed("a word is missing")
        word = self._word()
        if not self._take("("):
            return self._matching(word)
        inside = [*takewhile(lambda token: token != ")", self._tokens)]
        del self._tokens[: len(inside)]
        if not (inside and self._take(")")):
            raise self._malformed("a bracket is empty or not closed")
        exact = {at for at, name in enumerate(self._names) if name == word}
        found = exact or self._matching(word)
        for label in " ".join(inside).split(", "):
            found &= self._matching(label)
        return found

    def _word(self) -> str:
        """The next words if they are a label, "25 epochs", or else the next one."""
        words = [*takewhile(lambda token: token not in _ENDS, self._tokens)]
        phrase = " ".join(words)
        is_label = len(words) > 1 and any(phrase in labels for labels in self._labels)
        if not is_label and any(words[0] in name for name in self._names):
            words, phrase = words[:1], words[0]
        del self._tokens[: len(words)]
        return phrase

    def _matching(self, word: str) -> set[int]:
        """The positions whose name contains the word, else those with this label."""
        found = {at for at, name in enumerate(self._names) if word in name}
        found = found or {at for at, labels in enumerate(self._labels) if word in labels}
        if not found:
            raise UsageError(f"{self._option}: no cell has {word!r}: {self._advice(word)}")
        return found

    def _advice(self, word: str) -> str:
        if seed := _SEED.search(word):
            return f"cells have no seeds, leave {seed[0]!r} out"
        parts = sorted({part for name in self._names for part in name.split("/")})
        known = [*parts, *sorted({label for labels in self._labels for label in labels})]
        near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
        advice = f"did you mean {' or '.join(near)}? " if near else ""
        if hint := self._hint(word):
            advice = f"{hint}; "
        return f"{advice}words are {', '.join(parts)}"

    def _take(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _malformed(self, problem: str) -> UsageError:
        return UsageError(
            f"{self._option} {self._expression!r} is malformed: {problem}; "
            "write words joined by and, or, not and brackets"
        )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Part `number`, counted from 1, of a grid that is divided into `of` parts.

    Each host computes its part from the runs alone, without communication. The runs are sorted by
    the hash of their compiled model, then by cell and seed, and cut into parts of equal length:

    - every run is in exactly one shard, and sizes differ by at most one run;
    - M models in N shards are compiled at most M + N - 1 times;
    - adding a run moves at most one run across each cut; adding seeds to all cells moves runs of
      at most one cell across each cut.

    Shards have equal numbers of runs, not equal durations.
    """

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, runs: Sequence[Run]) -> list[Run]:
        """The runs of the shard, in the order of the grid."""
        if self.of == 1:
            return list(runs)
        order = sorted(range(len(runs)), key=[_sort_key(run) for run in runs].__getitem__)
        first, end = (len(runs) * cut // self.of for cut in (self.number - 1, self.number))
        return [runs[index] for index in sorted(order[first:end])]


def parse_shard(text: str | None) -> Shard:
    """The shard that "3/8" names, the whole grid for None; UsageError if there is none."""
    if text is None:
        return Shard()
    match = _SHARD.fullmatch(text)
    if match is None:
        raise UsageError(f"--shard takes K/N, as in 3/8 for the third of eight, got {text!r:.40}")
    shard = Shard(number=int(match[1]), of=int(match[2]))
    if not 1 <= shard.of <= MAX_SHARDS:
        raise UsageError(f"--shard {text}: a grid has 1 to {MAX_SHARDS:,} shards")
    if not 1 <= shard.number <= shard.of:
        raise UsageError(f"--shard {text}: shards are counted from 1 to {shard.of}")
    return shard


def _sort_key(run: Run) -> tuple[str, str, int]:
    model = hashlib.sha256("\0".join(run.worker_key).encode()).hexdigest()
    return model, replace(run, seed=0).id, run.seed
