"""`--fail-on`: how much worse side b may be, and whether it is worse by more than that.

    slower:3%      the time or speed that the verdict is on, images/s if that is a score
    accuracy:0.5   points of a percent; macro_f1:0.5 likewise

A limit is broken where a test says that b is worse by more than the limit: in a cell, with Holm's
correction for their number, or over all cells where there are enough of them.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bench.errors import UsageError
from bench.report.compare_statistics import Overall, Sample, Test, corrected
from bench.report.intervals import ALPHA
from bench.report.outcomes import ACCURACY, MACRO_F1, SPEED, Metric

_SLOWER = re.compile(r"slower:(\d{1,4}(?:\.\d+)?)\s*%")
_LOWER = re.compile(r"(accuracy|macro_f1):(\d{1,4}(?:\.\d+)?)(?:\s*points?)?")
SCORES = {"accuracy": ACCURACY, "macro_f1": MACRO_F1}
OVERALL = "all cells together"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much worse side b may be.

    Args:
        text: As it was typed.
        metric: What is looked at.
        null: The greatest allowed difference of b to a: a logarithm for ratios, else points.
    """

    text: str
    metric: Metric
    null: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of one limit.

    Args:
        limit: The limit.
        broken: Cells that are worse by more, and `OVERALL`.
        judged: How many could be judged.
        too_few: How many had too few seeds or cells.
    """

    limit: Limit
    broken: tuple[str, ...]
    judged: int
    too_few: int


def limit(text: str, metric: Metric) -> Limit:
    """Reads one `--fail-on`.

    Args:
        text: As it was typed.
        metric: What the verdict is on.

    Raises:
        UsageError: It is malformed.
    """
    slower, lower = _SLOWER.fullmatch(text.strip()), _LOWER.fullmatch(text.strip())
    if slower:
        timing = metric if metric.timing else SPEED
        share = float(slower[1]) / 100
        if timing.higher and share >= 1:
            raise UsageError(
                f"--fail-on {text!r}: a speed cannot fall by 100 % or more; name less, or --metric "
                "train_s for a time"
            )
        null = math.log1p(-share) if timing.higher else math.log1p(share)
        return Limit(text=text.strip(), metric=timing, null=null)
    if lower:
        return Limit(text=text.strip(), metric=SCORES[lower[1]], null=-float(lower[2]))
    raise UsageError(
        f"--fail-on {text!r} is malformed: write slower:3% for a time or speed, accuracy:0.5 or "
        "macro_f1:0.5 for points of a percent"
    )


def judge(one: Limit, samples: Mapping[str, Sample], overall: Overall | None) -> Judgement:
    """Whether a limit is broken.

    Args:
        one: The limit.
        samples: The figures of its metric in each cell that has them on both sides.
        overall: Of these cells; None for a single one.
    """
    tests: dict[str, Test | None] = {
        label: sample.test(one.null) if sample.enough else None for label, sample in samples.items()
    }
    if overall is not None and overall.enough:
        tests[OVERALL] = overall.test(one.null)
    worse = -1 if one.metric.higher else 1
    broken = [
        label
        for (label, test), p in zip(tests.items(), corrected(list(tests.values())), strict=True)
        if test is not None and p is not None and test.side == worse and p < ALPHA
    ]
    judged = sum(test is not None for test in tests.values())
    return Judgement(limit=one, broken=tuple(broken), judged=judged, too_few=len(tests) - judged)


__all__ = ["OVERALL", "Judgement", "Limit", "judge", "limit"]
