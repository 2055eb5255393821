"""`bench compare`: matched cells of two sides, what differs, and whether chance alone would do.

`--fail-on`: how much worse side b may be, and whether it is worse by more than that.

    slower:3%      the time or speed that the verdict is on, images/s if that is a score
    accuracy:0.5   points of a percent; macro_f1:0.5 likewise

A limit is broken where a test says that b is worse by more than the limit: in a cell, with Holm's
correction for their number, or over all cells where there are enough of them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

from bench.errors import UsageError
from bench.report.compare.matching import (
    Match,
    Matches,
    apart_in_time,
    ceilings,
    differences,
    left_out,
    match_sides,
)
from bench.report.compare.sides import Asked, Side, read_sides
from bench.report.compare.statistics import Overall, Sample, Test, corrected
from bench.report.statistics.intervals import ALPHA
from bench.report.statistics.outcomes import (
    ACCURACY,
    MACRO_F1,
    SPEED,
    TIME,
    TRAIN,
    Metric,
    Outcome,
    value_of,
)
from pipelines.catalog import unknown_name

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


METRICS = (SPEED, TRAIN, TIME, ACCURACY, MACRO_F1)
SAME_TARGET = ("target_accuracy", "protocol")  # must be the same for times to accuracy

Verdict = Literal[
    "faster", "slower", "higher", "lower", "cannot tell", "too few seeds", "too few cells",
    "no figures",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """One matched cell.

    Args:
        match: The cell.
        samples: Its figures by the metric's name; metrics that a side lacks are absent.
        p: Of the metric in question, with Holm's correction; None without a test.
        verdict: On that metric, of b against a.
    """

    match: Match
    samples: Mapping[str, Sample]
    p: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All cells together on one metric.

    Args:
        overall: Their differences.
        test: None with too few cells for a claim.
        verdict: Of b against a.
    """

    overall: Overall
    test: Test | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Side b against side a.

    Args:
        a, b: The sides.
        metric: What the verdicts are on.
        differences: What the sides differ in.
        rows: One for each matched cell.
        whole: All cells together by the metric's name; absent with fewer than two cells.
        notes: What was left out and what to keep in mind, a sentence each.
        matches: How cells were matched.
        judgements: One for each `--fail-on`.
    """

    a: Side
    b: Side
    metric: Metric
    differences: tuple[str, ...]
    rows: tuple[Row, ...]
    whole: Mapping[str, Whole]
    notes: tuple[str, ...]
    matches: Matches
    judgements: tuple[Judgement, ...]

    @property
    def broken(self) -> bool:
        """Whether a limit of `--fail-on` is broken."""
        return any(one.broken for one in self.judgements)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The limits that nothing could be held against."""
        return tuple(one.limit.text for one in self.judgements if not one.judged)


def metric_named(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: There is none.
    """
    known = {metric.name: metric for metric in METRICS}
    if name not in known:
        raise UsageError(unknown_name("metric", name, list(known)))
    return known[name]


def compare(asked: Asked, *, metric: str = SPEED.name, fail_on: Sequence[str] = ()) -> Comparison:
    """Reads, matches and tests.

    Args:
        asked: The sides.
        metric: Name of what the verdicts are on.
        fail_on: Limits as in `compare_gate`.

    Raises:
        StoreError: A folder cannot be read.
        UsageError: Something that was asked for is malformed, unknown, empty or impossible.
    """
    wanted = metric_named(metric)
    limits = [limit(text, wanted) for text in fail_on]
    a, b = read_sides(asked)
    return compared(a, b, wanted, limits)


def compared(a: Side, b: Side, metric: Metric, limits: Sequence[Limit] = ()) -> Comparison:
    """Matches and tests the records of two sides.

    Raises:
        UsageError: They have no cell in common, or no figures of the metric.
    """
    matches = match_sides(a, b)
    figures = {one.name: _of(matches, one) for one in METRICS}
    if not figures[metric.name]:
        raise UsageError(_no_figures(matches, metric))
    rows = _rows(matches, figures, metric)
    whole = {
        name: _whole(together)
        for name, each in figures.items()
        if (together := _overall(each, metric_named(name))) is not None
    }
    judgements = [
        judge(one, figures[one.metric.name], _overall(figures[one.metric.name], one.metric))
        for one in limits
    ]
    moved = [
        (row.match, 1 if row.verdict == "faster" else -1)
        for row in rows
        if metric in (SPEED, TRAIN) and row.verdict in ("faster", "slower")
    ]
    notes = [*a.notes, *b.notes, *left_out(matches), ceilings(moved), apart_in_time(matches.cells)]
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        differences=tuple(differences(matches)),
        rows=tuple(rows),
        whole=whole,
        notes=tuple(filter(None, notes)),
        matches=matches,
        judgements=tuple(judgements),
    )


def _rows(
    matches: Matches, figures: Mapping[str, Mapping[str, Sample]], metric: Metric
) -> list[Row]:
    found = figures[metric.name]
    tests = {label: one.test() if one.enough else None for label, one in found.items()}
    ps = dict(zip(tests, corrected(list(tests.values())), strict=True))
    return [
        Row(
            match=cell,
            samples={
                name: each[cell.label] for name, each in figures.items() if cell.label in each
            },
            p=ps.get(cell.label),
            verdict=_verdict(found.get(cell.label), tests.get(cell.label), ps.get(cell.label)),
        )
        for cell in matches.cells
    ]


def _of(matches: Matches, metric: Metric) -> dict[str, Sample]:
    """The figures of cells that have them on both sides, by label."""
    if metric is TIME and any(name in matches.compared for name in SAME_TARGET):
        return {}
    found = {
        cell.label: Sample(metric=metric, a=_figures(cell.a, metric), b=_figures(cell.b, metric))
        for cell in matches.cells
    }
    return {label: sample for label, sample in found.items() if min(sample.seeds)}


def _figures(outcome: Outcome, metric: Metric) -> dict[int, float]:
    runs = outcome.trusted if metric.timing else outcome.good
    values = {run.seed: value_of(run, metric) for run in runs}
    known = {seed: value for seed, value in values.items() if value is not None}
    return {seed: log(max(value, 1e-9)) for seed, value in known.items()} if metric.ratio else known


def _overall(samples: Mapping[str, Sample], metric: Metric) -> Overall | None:
    differences = tuple(sample.difference for sample in samples.values())
    return Overall(metric=metric, differences=differences) if len(differences) > 1 else None


def _whole(overall: Overall) -> Whole:
    test = overall.test() if overall.enough else None
    verdict = _word(overall.metric, test.side) if test and test.p < ALPHA else "cannot tell"
    return Whole(overall=overall, test=test, verdict=verdict if test else "too few cells")


def _verdict(sample: Sample | None, test: Test | None, p: float | None) -> Verdict:
    if sample is None:
        return "no figures"
    if test is None or p is None:
        return "too few seeds"
    return _word(sample.metric, test.side) if p < ALPHA else "cannot tell"


def _word(metric: Metric, side: int) -> Verdict:
    if side == 0:
        return "cannot tell"
    if not metric.timing:
        return "higher" if side > 0 else "lower"
    return "faster" if (side > 0) == metric.higher else "slower"


def _no_figures(matches: Matches, metric: Metric) -> str:
    if metric is TIME and any(name in matches.compared for name in SAME_TARGET):
        return (
            "times to accuracy cannot be compared, the sides have different targets or protocols: "
            "name another --metric"
        )
    runs = [run for cell in matches.cells for side in (cell.a, cell.b) for run in side.good]
    suspect = sum(bool(run.timing_suspect) for run in runs)
    why = f" ({suspect} of {len(runs)} runs have suspect timings)" if metric.timing else ""
    return (
        f"no matched cell has {metric.label} on both sides{why}: name another --metric, or run "
        "them again"
    )
