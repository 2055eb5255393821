"""How often `bench compare` says "different" of two halves of the same runs.

    bench run --grid smoke --source shapes -k "cnn2 and native" --epochs 3 --target 0.11 \
        --seeds 120 --out alike
    python -m tests.benchmarks.compare_alike alike

The runs of one cell are split into two sides of 5, 10 and 20 runs: at random 1,000 times; in turns,
every other run of a stretch of time; and apart, the first half of a stretch against the second.
"as recorded" leaves out suspect timings, as the command does; "marks removed" counts them, which is
harder. A rate is null where no try had five seeds a side.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError
from bench.record import Record
from bench.report.columns import Metric
from bench.report.compare.compare import METRICS, compare
from bench.report.compare.sides import Side
from bench.store.groups import groups
from bench.store.store import Store
from tests.benchmarks.common import print_figures

TRIES = 1000
SEEDS = (5, 10, 20)
WAYS = ("at random", "in turns", "apart")
NO_CLAIM = ("too few seeds", "no data")

Halves = tuple[Sequence[Record], Sequence[Record]]


def splits(way: str, runs: Sequence[Record], seeds: int) -> Iterator[Halves]:
    """Pairs of sides with `seeds` runs each; `runs` are in the order of time."""
    if way == "at random":
        chance = random.Random(seeds)
        for _ in range(TRIES):
            drawn = chance.sample(list(runs), 2 * seeds)
            yield drawn[:seeds], drawn[seeds:]
        return
    for start in range(len(runs) - 2 * seeds + 1):
        stretch = runs[start : start + 2 * seeds]
        in_turns, apart = (stretch[::2], stretch[1::2]), (stretch[:seeds], stretch[seeds:])
        yield in_turns if way == "in turns" else apart


def verdict(halves: Halves, metric: Metric) -> str:
    """The comparison's verdict on the cell."""
    a, b = (Side(name=name, records=tuple(half)) for name, half in zip("ab", halves, strict=True))
    try:
        return compare(a, b, metric).rows[0].judged.verdict
    except UsageError:  # all timings of a side are suspect
        return "no data"


def rate(way: str, runs: Sequence[Record], seeds: int, metric: Metric) -> dict[str, Any]:
    """The share of tries with the verdict "different", and the tries that had a verdict."""
    verdicts = [verdict(halves, metric) for halves in splits(way, runs, seeds)]
    claims = [name for name in verdicts if name not in NO_CLAIM]
    different = sum(name != "cannot tell" for name in claims)
    return {
        "tries": len(verdicts),
        "with_a_verdict": len(claims),
        "different_pct": round(100 * different / len(claims), 2) if claims else None,
    }


def drift(runs: Sequence[Record]) -> dict[str, float]:
    """Spread and lag-1 autocorrelation of images/s (0 without drift)."""
    speeds = np.log([run.throughput.median for run in runs if run.throughput])
    return {
        "images_per_s_sd_pct": round(100 * float(speeds.std(ddof=1)), 1),
        "images_per_s_lag_1": round(float(np.corrcoef(speeds[1:], speeds[:-1])[0, 1]), 2),
    }


def main(folder: str) -> None:
    records = [run for group in groups(Path(folder)) for run in Store(group.folder).records()]
    runs = sorted(
        (run for run in records if run.status == "ok"), key=lambda run: (run.started, run.seed)
    )
    bare = [replace(run, timing_suspect=()) for run in runs]
    found = {
        marks: {
            metric.name: {
                way: {str(seeds): rate(way, chosen, seeds, metric) for seeds in SEEDS}
                for way in WAYS
            }
            for metric in METRICS
        }
        for marks, chosen in (("as recorded", runs), ("marks removed", bare))
    }
    figures = {
        "command": runs[0].command,
        "cell": runs[0].cell.name,
        "runs": len(runs),
        "suspect": sum(bool(run.timing_suspect) for run in runs),
        "started": [runs[0].started, runs[-1].started],
        **drift(runs),
        "different": found,
    }
    environment = runs[0].environment
    measured_on = {name: environment.get(name) for name in ("cpu", "cores", "torch")}
    print_figures({"date": runs[0].started[:10], **measured_on}, figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
