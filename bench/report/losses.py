"""Failed runs enter no average: where one level of a factor failed more than another, that chooses.

An effect is then one of the cells that survived, and what failed more looks better than it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report.matching import Matched, match, match_all
from bench.report.outcomes import FACTORS, Outcome
from bench.report.sentences import against, code
from bench.wording import count

FAILED = ("diverged", "oom", "timeout", "crashed")
MOST_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How much of a comparison failed.

    Args:
        level: Of a factor.
        reference: What it is compared with.
        cells: Matched cells, with those that failed.
        left_out: Those of them that no average has, since all runs of a side failed.
        failed: Runs that failed, of the level and of the reference.
        runs: All runs of these cells, likewise.
    """

    level: str
    reference: str
    cells: int
    left_out: int
    failed: tuple[int, int]
    runs: tuple[int, int]

    @property
    def unevenness(self) -> float:
        """Difference of the shares that failed."""
        level, reference = (lost / all_ for lost, all_ in zip(self.failed, self.runs, strict=True))
        return level - reference


def told(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The caveats; nothing where failures are spread evenly over what is compared."""
    found = uneven(outcomes)
    if found:
        names = [_said(loss) for loss in found[:MOST_NAMES]]
        if len(found) > MOST_NAMES:
            names.append(f"{len(found) - MOST_NAMES} more")
        yield (
            "Failed runs enter no average and are unevenly spread, so these are effects on the "
            f"cells that survived, which flatters what failed more: {'; '.join(names)}."
        )
    gone = lost_levels(outcomes)
    if gone:
        names = [f"{code(level)} ({count(number, 'run')})" for level, number in gone]
        yield f"No run ended well, so that no average or effect has it: {', '.join(names)}."


def uneven(outcomes: Sequence[Outcome]) -> list[Loss]:
    """The comparisons of which one side failed more than the other, the most uneven first."""
    found = []
    for factor in FACTORS:
        known = match(outcomes, factor)
        if known is not None:
            every = match_all(_tried(outcomes), factor, known.reference)
            assert every is not None
            found += [loss for level in known.pairs if (loss := _loss(every, level)) is not None]
    uneven = [loss for loss in found if loss.unevenness]
    return sorted(uneven, key=lambda one: (-abs(one.unevenness), -sum(one.failed), one.level))


def lost_levels(outcomes: Sequence[Outcome]) -> list[tuple[str, int]]:
    """Entries that were tried and of which no run ended well, with the number of their runs."""
    found: dict[str, int] = {}
    for factor in FACTORS[:-1]:
        good = {getattr(outcome.cell, factor) for outcome in outcomes if outcome.good}
        for outcome in _tried(outcomes) if good else ():
            level = getattr(outcome.cell, factor)
            if level not in good:
                found[level] = found.get(level, 0) + len(_counted(outcome))
    return sorted(found.items())


def _tried(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if _counted(outcome)]


def _counted(outcome: Outcome) -> list[Record]:
    """Runs that came to an end of their own: what was skipped or interrupted says nothing."""
    return [run for run in outcome.runs if run in outcome.good or run.status in FAILED]


def _loss(every: Matched, level: str) -> Loss | None:
    pairs = every.pairs.get(level, ())
    if not pairs:
        return None
    sides = [
        [run for pair in pairs for outcome in getattr(pair, side) for run in _counted(outcome)]
        for side in ("level", "reference")
    ]
    failed = [sum(run.status in FAILED for run in runs) for runs in sides]
    return Loss(
        level=level,
        reference=every.reference,
        cells=len(pairs),
        left_out=sum(
            not all(any(one.good for one in side) for side in (pair.level, pair.reference))
            for pair in pairs
        ),
        failed=(failed[0], failed[1]),
        runs=(len(sides[0]), len(sides[1])),
    )


def _said(loss: Loss) -> str:
    left_out = f"; {loss.left_out} of {count(loss.cells, 'matched cell')} left out"
    return (
        f"{against(loss.level, loss.reference)} ({loss.failed[0]} of {count(loss.runs[0], 'run')} "
        f"failed, with {code(loss.reference)} {loss.failed[1]} of {loss.runs[1]}"
        f"{left_out if loss.left_out else ''})"
    )


__all__ = ["Loss", "lost_levels", "told", "uneven"]
