"""What the sides of a comparison differ in beside what it is about, and what it leaves out."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bench.record import Record
from bench.report.compare_matching import Match, Matches, soft, told
from bench.report.intervals import Contrast, welch
from bench.report.outcomes import Outcome
from bench.report.sentences import listed
from bench.report.settings import settings
from bench.wording import count

ENVIRONMENT = {
    "gpu": "GPU", "driver": "driver", "cpu": "CPU", "cores": "cores", "threads": "threads",
    "os": "system", "python": "Python", "torch": "torch", "cuda": "CUDA", "cudnn": "cuDNN",
    "torchvision": "torchvision", "kornia": "kornia", "dali": "DALI", "timm": "timm",
    "pipeline_bench": "pipeline-bench",
}  # fmt: skip
MOST_VALUES = 3


def differences(matches: Matches) -> list[str]:
    """ "torch: 2.11.0 -> 2.14.1", one for each thing that differs, a before b."""
    cells = matches.cells
    found = [
        _change(
            name.replace("_", " "),
            [told(cell.a.key, name) for cell in cells],
            [told(cell.b.key, name) for cell in cells],
        )
        for name in matches.compared
    ]
    a, b = ([run for one in side for run in one.runs] for side in _sides(cells))
    found += [
        _change(said, _known(a, name), _known(b, name))
        for name, said in ENVIRONMENT.items()
        if set(_known(a, name)) != set(_known(b, name))
    ]
    commits = [[_commit(run.environment) for run in runs] for runs in (a, b)]
    if set(commits[0]) != set(commits[1]):
        found.append(_change("commit", *commits))
    return found + list(_settings(cells))


def _sides(cells: Sequence[Match]) -> tuple[list[Outcome], list[Outcome]]:
    return [cell.a for cell in cells], [cell.b for cell in cells]


def _change(name: str, a: Sequence[str], b: Sequence[str]) -> str:
    return f"{name}: {_values(a)} -> {_values(b)}"


def _values(values: Sequence[str]) -> str:
    found = sorted(set(values))
    if len(found) <= MOST_VALUES:
        return " and ".join(found)
    return f"{', '.join(found[:MOST_VALUES])} and {len(found) - MOST_VALUES} more"


def _known(runs: Sequence[Record], name: str) -> list[str]:
    """Values of the environment; a run that never started knows none."""
    return [
        "none" if run.environment[name] is None else str(run.environment[name])
        for run in runs
        if name in run.environment
    ]


def _commit(environment: dict[str, Any]) -> str:
    commit = str(environment.get("commit") or "")[:7] or "unknown"
    return f"{commit} with changes" if environment.get("dirty") else commit


def _settings(cells: Sequence[Match]) -> Iterator[str]:
    """Recipes, batch sizes, versions of entries and images that differ within matched cells."""
    changes: dict[str, list[tuple[str, str]]] = {}
    for cell in cells:
        a, b = (_told_soft(side) for side in (cell.a, cell.b))
        for name in dict.fromkeys([*a, *b]):
            if a.get(name) != b.get(name):
                pair = (a.get(name, "none"), b.get(name, "none"))
                changes.setdefault(name, []).append(pair)
    for name, pairs in changes.items():
        where = "" if len(pairs) == len(cells) else f" (in {len(pairs)} of {len(cells)} cells)"
        ways = set(pairs)
        said = _change(name, *zip(*ways, strict=True)) if len(ways) == 1 else name
        yield said + where


def _told_soft(outcome: Outcome) -> dict[str, str]:
    values = soft(outcome.key)
    for name in ("recipe", "machine", "torch"):  # the recipe is told by its parts, the rest above
        values.pop(name)
    said = {name.replace("_", " "): str(value) for name, value in values.items()}
    said["images"] = said["images"][:8]
    return said | settings(outcome.cell)


def left_out(matches: Matches) -> Iterator[str]:
    """Cells and runs that the comparison has no figures of, a sentence each."""
    for letter, names in (("a", matches.only_a), ("b", matches.only_b)):
        if names:
            yield f"Only on side {letter}: {count(len(names), 'cell')} ({listed(names)})."
    if matches.several:
        yield (
            f"Left out, since one side has them in several ways: "
            f"{count(len(matches.several), 'cell')} ({listed(matches.several)})."
        )
    for letter, outcomes in zip("ab", _sides(matches.cells), strict=True):
        yield from _runs_left_out(letter, outcomes)


def _runs_left_out(letter: str, outcomes: Sequence[Outcome]) -> Iterator[str]:
    suspect = [run for one in outcomes for run in one.good if run.timing_suspect]
    if suspect:
        good = sum(len(one.good) for one in outcomes)
        kinds: dict[str, list[str]] = {}
        for reason in (reason for run in suspect for reason in run.timing_suspect):
            kinds.setdefault(re.sub(r"[\d.,]+", "", reason), []).append(reason)
        most = max(kinds.values(), key=len)[0]
        more = " and others" if len(kinds) > 1 else ""
        yield (
            f"Suspect timings on side {letter}, left out of every speed and time but not of the "
            f"scores: {len(suspect)} of {count(good, 'run')} (as in: {most}{more})."
        )
    failed = Counter(run.status for one in outcomes for run in one.runs if run not in one.good)
    if failed:
        said = ", ".join(f"{number} {status}" for status, number in sorted(failed.items()))
        yield f"Runs on side {letter} that did not end well and have no figures: {said}."


def apart_in_time(cells: Sequence[Match]) -> str:
    """A warning where all runs of one side ended before those of the other began; else ""."""
    a, b = ([run for one in side for run in one.good] for side in _sides(cells))
    if not (a and b):
        return ""
    for first, then, names in ((a, b, ("a", "b")), (b, a, ("b", "a"))):
        ended, began = max(run.finished for run in first), min(run.started for run in then)
        if ended <= began:
            return (
                f"All runs of side {names[0]} ended before side {names[1]} began ({ended[:16]}, "
                f"{began[:16]}): a machine that became slower or faster meanwhile looks like a "
                "difference; to rule that out, run the sides in turns."
            )
    return ""


def ceilings(told: Sequence[tuple[Match, int]]) -> str:
    """A note where the ceiling, the same net fed one cached batch, moved as images/s did; else "".

    Args:
        told: Cells that are faster (1) or slower (-1).
    """
    moved = sum(_ceiling_side(match) == side for match, side in told)
    if not moved:
        return ""
    return (
        f"In {moved} of {count(len(told), 'cell')} that became faster or slower the ceiling, the "
        "same net without waiting for data, moved the same way: it is not the pipeline alone, but "
        "the net, the software or the machine."
    )


def _ceiling_side(match: Match) -> int:
    level, reference = (
        tuple(
            math.log(run.throughput.ceiling)
            for run in side.trusted
            if run.throughput and run.throughput.ceiling
        )
        for side in (match.b, match.a)
    )
    interval = welch([Contrast(level=level, reference=reference)])
    return interval.side() if interval else 0


__all__ = ["apart_in_time", "ceilings", "differences", "left_out"]
