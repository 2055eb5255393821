"""`bench compare`: which matched cells of two sides differ by more than chance, and by how much.

`--fail-on` limits how much worse side b may be:

    slower:3%      the time or speed that the verdict is on, images/s if that is a score
    accuracy:0.5   percentage points; macro_f1:0.5 works the same way

A limit is broken where a test says that b is worse by more than the limit: in a cell, with Holm's
correction over the cells, or over all cells if there are enough of them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.errors import UsageError, check_choice
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from bench.report.compare.sides import (
    Match,
    Matches,
    Side,
    differences,
    left_out,
    match_sides,
    separate_in_time,
)
from bench.report.compare.statistics import Estimate, Overall, Sample, corrected_tests
from bench.report.rows import Outcome, value_of
from bench.report.statistics.intervals import ALPHA, Test
from bench.text import count

METRICS = (SPEED, TRAIN, TIME, ACCURACY, MACRO_F1)
SCORES = {"accuracy": ACCURACY, "macro_f1": MACRO_F1}
SAME_TARGET = ("target_accuracy", "protocol")  # must agree for times to accuracy
ALL_CELLS = "all cells together"
CEILING = replace(  # the same net fed one cached batch
    SPEED, name="ceiling", of=lambda run: run.throughput.ceiling if run.throughput else None
)

_SLOWER = re.compile(r"slower:(\d{1,4}(?:\.\d+)?)\s*%")
_LOWER = re.compile(r"(accuracy|macro_f1):(\d{1,4}(?:\.\d+)?)(?:\s*points?)?")

Verdict = Literal[
    "faster", "slower", "higher", "lower", "cannot tell", "too few seeds", "too few cells",
    "no data",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much worse side b may be."""

    text: str  # as typed
    metric: Metric
    null: float  # the greatest allowed b - a: a logarithm for ratios, else points


@dataclass(frozen=True, kw_only=True)
class LimitResult:
    """Whether a limit holds."""

    limit: Limit
    broken: tuple[str, ...]  # cells that are worse by more, and `ALL_CELLS`
    tested: int
    too_few: int  # cells with too few seeds for a test


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a test says of one cell, or of all cells together."""

    estimate: Estimate | None  # None if a side lacks the metric
    p: float | None  # with Holm's correction; None without a test
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    """One matched cell."""

    match: Match
    samples: Mapping[str, Sample]  # by the metric's name; only metrics that both sides have
    judged: Judged  # by the metric that the verdicts are on


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Side b against side a."""

    a: Side
    b: Side
    metric: Metric  # what the verdicts are on
    differences: tuple[str, ...]
    rows: tuple[Row, ...]
    overall: Mapping[str, Judged]  # by the metric's name; only with two cells or more
    notes: tuple[str, ...]
    matches: Matches
    limits: tuple[LimitResult, ...]

    @property
    def broken(self) -> bool:
        """Whether a limit of `--fail-on` is broken."""
        return any(result.broken for result in self.limits)

    @property
    def untested(self) -> tuple[str, ...]:
        """The limits for which there was too little data to test anything."""
        return tuple(result.limit.text for result in self.limits if not result.tested)


def metric_named(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: It is unknown.
    """
    known = {metric.name: metric for metric in METRICS}
    check_choice("metric", name, list(known))
    return known[name]


def parse_limit(text: str, metric: Metric) -> Limit:
    """Reads one `--fail-on`; `metric` is what the verdict is on.

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
        "macro_f1:0.5 for percentage points"
    )


def compare(a: Side, b: Side, metric: Metric, limits: Sequence[Limit] = ()) -> Comparison:
    """Matches the cells of two sides and tests them.

    Raises:
        UsageError: The sides have no cell in common, or no data of the metric.
    """
    matches = match_sides(a, b)
    samples = {each.name: _samples(matches, each) for each in METRICS}
    if not samples[metric.name]:
        raise UsageError(_no_data(matches, metric))
    judged = _judged([samples[metric.name].get(cell.label) for cell in matches.cells])
    rows = tuple(
        Row(
            match=cell,
            samples={n: each[cell.label] for n, each in samples.items() if cell.label in each},
            judged=one,
        )
        for cell, one in zip(matches.cells, judged, strict=True)
    )
    overall = {
        each.name: Overall(metric=each, differences=tuple(one.difference for one in found))
        for each in METRICS
        if len(found := list(samples[each.name].values())) > 1
    }
    notes = [*a.notes, *b.notes, *left_out(matches), separate_in_time(matches.cells)]
    if metric in (SPEED, TRAIN):
        notes.append(_ceiling_note(rows, _samples(matches, CEILING)))
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        differences=tuple(differences(matches)),
        rows=rows,
        overall={name: _judged([each])[0] for name, each in overall.items()},
        notes=tuple(filter(None, notes)),
        matches=matches,
        limits=tuple(
            check_limit(limit, samples[limit.metric.name], overall.get(limit.metric.name))
            for limit in limits
        ),
    )


def check_limit(
    limit: Limit, samples: Mapping[str, Sample], overall: Overall | None
) -> LimitResult:
    """Whether a limit holds, given its metric's samples by cell and all of them together."""
    estimates: dict[str, Estimate] = dict(samples)
    if overall is not None and overall.enough:
        estimates[ALL_CELLS] = overall
    tests = corrected_tests(list(estimates.values()), limit.null)
    worse = -1 if limit.metric.higher else 1
    broken = [
        label
        for label, test in zip(estimates, tests, strict=True)
        if test is not None and test.side == worse and test.p < ALPHA
    ]
    number = sum(test is not None for test in tests)
    return LimitResult(
        limit=limit, broken=tuple(broken), tested=number, too_few=len(tests) - number
    )


def _judged(estimates: Sequence[Estimate | None]) -> list[Judged]:
    return [
        Judged(estimate=one, p=test.p if test else None, verdict=_verdict(one, test))
        for one, test in zip(estimates, corrected_tests(estimates), strict=True)
    ]


def _verdict(estimate: Estimate | None, test: Test | None) -> Verdict:
    if estimate is None:
        return "no data"
    if test is None:
        return "too few seeds" if isinstance(estimate, Sample) else "too few cells"
    if test.p >= ALPHA or test.side == 0:
        return "cannot tell"
    if not estimate.metric.timing:
        return "higher" if test.side > 0 else "lower"
    return "faster" if (test.side > 0) == estimate.metric.higher else "slower"


def _samples(matches: Matches, metric: Metric) -> dict[str, Sample]:
    """The values of cells that have them on both sides, by label."""
    if metric is TIME and any(name in matches.compared for name in SAME_TARGET):
        return {}
    samples = {
        cell.label: Sample(metric=metric, a=_values(cell.a, metric), b=_values(cell.b, metric))
        for cell in matches.cells
    }
    return {label: sample for label, sample in samples.items() if min(sample.seeds)}


def _values(outcome: Outcome[Record], metric: Metric) -> dict[int, float]:
    """By seed; logarithms of ratios."""
    by_seed = {run.seed: value_of(run, metric) for run in outcome.usable(metric)}
    return {
        seed: math.log(max(value, 1e-9)) if metric.ratio else value
        for seed, value in by_seed.items()
        if value is not None
    }


def _ceiling_note(rows: Sequence[Row], ceilings: Mapping[str, Sample]) -> str:
    """Whether cells that became faster or slower have a ceiling that changed the same way."""
    moved = [row for row in rows if row.judged.verdict in ("faster", "slower")]
    number = 0
    for row in moved:
        ceiling = ceilings.get(row.match.label)
        interval = ceiling.interval() if ceiling else None
        side = 1 if row.judged.verdict == "faster" else -1
        number += interval is not None and interval.side() == side
    if not number:
        return ""
    return (
        f"In {number} of {count(len(moved), 'cell')} that became faster or slower, the ceiling "
        "(the same net without waiting for data) changed the same way: the cause is the net, the "
        "software or the machine, not the pipeline alone."
    )


def _no_data(matches: Matches, metric: Metric) -> str:
    if metric is TIME and any(name in matches.compared for name in SAME_TARGET):
        return (
            "times to accuracy cannot be compared, the sides have different targets or protocols: "
            "name another --metric"
        )
    sides = [side for cell in matches.cells for side in (cell.a, cell.b)]
    suspect, runs = sum(side.suspect for side in sides), sum(len(side.good) for side in sides)
    why = f" ({suspect} of {runs} runs have suspect timings)" if metric.timing else ""
    return (
        f"no matched cell has {metric.label} on both sides{why}: name another --metric, or run "
        "them again"
    )
