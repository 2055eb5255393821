"""A grid in parts for hosts that share nothing: `--shard 3/8`, the third of eight.

Each host works its part out by itself, from the runs alone. They are laid in a row and the row is
cut into N pieces of equal length. In the row stand together the runs that share a compiled model,
within them those of a cell; both are in the order of their hashes, which nothing else moves. So

- every run is in exactly one shard, and the largest has at most one run more than the smallest;
- of M models and N shards no more than M + N - 1 compilations are made in all: a cut through a
  model makes one more, and there are N - 1 cuts;
- a run that is added moves at most one run over each cut; seeds that are added to all cells move
  runs of at most one cell over each cut, since every cell keeps its place in proportion.

They are equal in runs, not in seconds: nobody knows beforehand what a run costs on a machine.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.cell import Run
from bench.errors import UsageError

MOST_SHARDS = 10_000
_SPELLING = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part of a grid.

    Args:
        number: Which, from 1 on.
        of: How many there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard(number=1, of=1)


def parse(text: str | None) -> Shard:
    """What "3/8" says; the whole for None.

    Raises:
        UsageError: It says nothing of that kind, or there is no such part.
    """
    if text is None:
        return WHOLE
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise UsageError(f"--shard takes K/N, as in 3/8 for the third of eight, got {text!r:.40}")
    shard = Shard(number=int(match[1]), of=int(match[2]))
    if not 1 <= shard.of <= MOST_SHARDS:
        raise UsageError(f"--shard {text}: a grid has 1 to {MOST_SHARDS:,} shards")
    if not 1 <= shard.number <= shard.of:
        raise UsageError(f"--shard {text}: shards are counted from 1 to {shard.of}")
    return shard


def part(runs: Sequence[Run], shard: Shard) -> list[Run]:
    """The runs of a shard, in the order in which they stand in the grid."""
    if shard == WHOLE:
        return list(runs)
    row = sorted(range(len(runs)), key=[_place(run) for run in runs].__getitem__)
    first, end = (len(row) * cut // shard.of for cut in (shard.number - 1, shard.number))
    return [runs[index] for index in sorted(row[first:end])]


def told(shard: Shard, part_size: int, whole_size: int) -> str:
    """In words, which shard it is; "" for the whole."""
    if shard == WHOLE:
        return ""
    return f"shard {shard}: {part_size} of the grid's {whole_size} runs"


def _place(run: Run) -> tuple[str, str, int]:
    """Where a run stands in the row: model, cell, seed."""
    model = hashlib.sha256("\0".join(run.worker_key).encode()).hexdigest()
    return model, replace(run, seed=0).id, run.seed
